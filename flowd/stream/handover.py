"""A whole state as it goes to another daemon: that one begins with it, and goes on by frames."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

import msgspec
from attrs import asdict, frozen

from flowd.stream.frames import Frame

PART_BYTES = 1024 * 1024
"""A state is handed over in parts of about so many bytes."""


@frozen
class Known:
    """How far a state goes: whose frames it has, `life`, None where that cannot be said, and up to
    which. `led` says that it is what its daemon showed when it served last; else it is a copy of
    another one's.
    """

    life: str | None = None
    frame: int = 0
    led: bool = False


@frozen
class Opening:
    """What has to be known of a state before it comes: how far it goes, and which streams the
    frames behind it know by number: that, name, epoch.
    """

    life: str
    frame: int
    streams: list[tuple[int, str, str]]

    def encode(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> "Opening":
        """From bytes; ValueError for others."""
        found = _opening(data)
        return cls(found["life"], found["frame"], found["streams"])


class _Fields(msgspec.Struct):
    life: str
    frame: int
    streams: list[tuple[int, str, str]]


def _opening(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.structs.asdict(msgspec.msgpack.decode(data, type=_Fields))
    except msgspec.MsgspecError as error:
        raise ValueError(f"not the opening of a state: {error}") from None


@frozen
class Handover:
    """A state of one instant: what opens it, and the rest in parts of about `PART_BYTES`."""

    opening: Opening
    parts: AsyncIterator[bytes]


class Unusable(Exception):
    """What came of a state, or of frames, cannot be used; the text says why."""


class Replica(Protocol):
    """The state of a daemon that stands by: a copy of what another one has."""

    async def known(self) -> Known:
        """How far it goes. UserError when the state cannot be used at all."""
        ...

    async def install(self, handover: Handover) -> None:
        """Be this from now on, whatever it was. Unusable when it is damaged: then it is what it
        was.
        """
        ...

    async def apply(self, frames: Sequence[Frame]) -> None:
        """Go on by these frames, the first of which follows on what is known. Unusable when they
        make no sense: then nothing has changed.
        """
        ...

    async def close(self) -> None:
        """Let go of it, so that a store can be opened there."""
        ...


class Names:
    """Which streams frames mean by their numbers, from one portion of frames to the next."""

    def __init__(self, streams: Iterable[tuple[int, str, str]] = ()) -> None:
        self.streams = {number: (name, epoch) for number, name, epoch in streams}

    def openings(self) -> list[tuple[int, str, str]]:
        """All of them."""
        return [(number, name, epoch) for number, (name, epoch) in self.streams.items()]

    def complete(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames with what they need of earlier ones before them; Unusable when that is not
        known.
        """
        before: list[Any] = []
        opened: set[int] = set()
        for frame in frames:
            for change in frame.changes:
                number = change[0]
                if len(change) == 3:
                    opened.add(number)
                    self.streams[number] = (change[1], change[2])
                elif number not in opened:
                    if number not in self.streams:
                        raise Unusable(f"frame {frame.number} is of a stream that was never opened")
                    opened.add(number)
                    before.append((number, *self.streams[number]))
        return [Frame(frames[0].number - 1, before, []), *frames]
