"""The frames of a journal: what they are made of, how they are read back, and whether those that
are found are what anybody could have been shown.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from attrs import field, frozen

MAGIC = b"flj1"
FRAME = struct.Struct("<4sIIQ")
"""What opens a frame: magic, bytes of the payload, CRC of number and payload, number."""

Change = Sequence[Any]
"""One change, told apart by its length: `(stream, name, epoch)` opens a stream under a number,
`(stream, key)` forgets a key, `(stream, key, floor, True)` says that a table's oldest fell off,
`(stream, seq, lost, anew, None)` moves the head of a stream that another daemon numbers, and says
up to where nothing is left, or that nothing is left of what was saved of it, and
`(stream, seq, time_ms, key, json, id)` appends a record and notes its id; with seq 0 it notes the
id alone. What falls off a history needs no word: it follows from what it retains.
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Any], list[tuple[str, str, int]]]).decode


@frozen
class Head:
    """What opens a segment: whose it is, and from which boot of the machine."""

    segment: int
    life: str
    boot: str
    synced: bool = False
    """Each frame was on the disk before it was shown: another boot finds it too."""


@frozen
class Frame:
    """One frame as it was read back."""

    number: int
    changes: list[Change]
    places: list[tuple[str, str, int]]
    """(component, stream, seq): where readers are."""


@frozen
class Segment:
    """A segment as it was read back. `newest` is the number of the newest frame that was written
    whole, whether it is still there or not; `damaged` says that a frame before the end is wrong.
    """

    head: Head
    frames: list[Frame] = field(factory=list)
    newest: int = 0
    seal: bytes = b""
    """What was known of the state's file when it was closed in order."""
    damaged: bool = False


@frozen
class Saved:
    """What a saved state says of the journal: the life that saved it, whether that ended in order,
    and the newest frame that it contains. No life: it is from before there was a journal.

    `mark` is what is known of its file now, to be compared with what was noted when it was closed:
    a copy that was put in its place is another file.
    """

    life: str | None
    clean: bool
    frame: int = 0
    mark: bytes = b""


class Broken(Exception):
    """The log cannot go on as if nothing had happened; the text says why."""


class Unwritable(Exception):
    """What changed cannot be written as a frame."""


def payload(changes: Sequence[Change], places: Sequence[tuple[str, str, int]]) -> bytes:
    """What a frame says, as bytes; Unwritable."""
    try:
        return _encode((changes, places))
    except (msgspec.MsgspecError, TypeError) as error:
        raise Unwritable(str(error)) from None


def packed(number: int, payload: bytes) -> bytes:
    """A frame as it is written; Unwritable when it is too large."""
    try:
        return FRAME.pack(MAGIC, len(payload), _check(number, payload), number) + payload
    except struct.error as error:
        raise Unwritable(str(error)) from None


def unpacked(number: int, payload: bytes) -> Frame | None:
    """The frame that a payload says; None when it says none."""
    try:
        changes, places = _decode(payload)
    except msgspec.MsgspecError:
        return None
    return Frame(number, changes, places)


def read(head: Head, data: bytes, newest: int, seal: bytes = b"") -> Segment:
    """The frames in a segment's bytes. One that is torn at the very end was shown to nobody; one
    before it that is wrong is damage.
    """
    frames: list[Frame] = []
    place = 0
    while place < len(data):
        found = _frame(data, place)
        if found is None:
            return Segment(head, frames, newest, seal, damaged=_goes_on(data, place + 1))
        frame, place = found
        frames.append(frame)
    return Segment(head, frames, newest, seal)


def _frame(data: bytes, place: int) -> tuple[Frame, int] | None:
    """The frame at a place, and where it ends; None where there is no whole and right one."""
    if place + FRAME.size > len(data):
        return None
    magic, size, check, number = FRAME.unpack_from(data, place)
    begin = place + FRAME.size
    payload = data[begin : begin + size]
    if magic != MAGIC or len(payload) != size:
        return None
    if _check(number, payload) != check:
        return None
    frame = unpacked(number, payload)
    return None if frame is None else (frame, begin + size)


def _check(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(number.to_bytes(8, "little")))


def _goes_on(data: bytes, place: int) -> bool:
    """Whether a right frame follows somewhere behind a wrong one."""
    while (place := data.find(MAGIC, place)) >= 0:
        if _frame(data, place) is not None:
            return True
        place += 1
    return False


def unbroken(saved: Saved, segments: Iterable[Segment], boot: str) -> list[Frame]:
    """The frames to apply to a saved state, in order, so that it is what anybody could have been
    shown; Broken when that cannot be known.
    """
    if saved.life is None:
        if saved.clean:
            return []
        raise Broken("it was not closed in order, and has no journal")
    ours = sorted((s for s in segments if s.head.life == saved.life), key=lambda s: s.head.segment)
    if not ours:
        raise Broken("it was replaced or restored: the journal beside it is not its own")
    if saved.clean:
        end = ours[-1]
        if end.seal not in (saved.mark, b""):
            raise Broken("it is a copy that was put in place of the file that was closed")
        if end.frames and end.frames[0].number != saved.frame + 1:
            raise Broken("it is an older copy: its journal knows of later saves")
        return []
    if any(s.head.boot != boot and not s.head.synced for s in ours):
        raise Broken("the machine was restarted without an orderly stop")
    if any(segment.damaged for segment in ours):
        raise Broken("its journal is damaged")
    frames = [frame for segment in ours for frame in segment.frames]
    numbers = [frame.number for frame in frames]
    first, last = (numbers[0], numbers[-1]) if numbers else (saved.frame + 1, saved.frame)
    if len(numbers) != last - first + 1 or numbers != sorted(set(numbers)):
        raise Broken("its journal has a hole")
    if first > saved.frame + 1:
        raise Broken("its newest saves are gone: they were not on the disk yet")
    if last < max(saved.frame, *(segment.newest for segment in ours)):
        raise Broken("the end of its journal is gone")
    return [frame if frame.number > saved.frame else _opening(frame) for frame in frames]


def _opening(frame: Frame) -> Frame:
    """What later frames need of one that is saved: which stream has which number."""
    return Frame(frame.number, [change for change in frame.changes if len(change) == 3], [])


def newest(segments: Iterable[Segment]) -> int:
    """The highest number that any frame has or had."""
    return max((n for s in segments for n in (s.newest, *(f.number for f in s.frames))), default=0)
