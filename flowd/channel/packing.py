"""How payloads become bytes on a socket: as they are, as blocks of gzip, as WebSocket frames,
deflated or not.

Each packing gives bytes that are the same for every client who negotiated it, so that a channel
packs once however many clients it has: no context is carried from one block or message to the
next.
"""

import struct
import zlib
from collections.abc import Callable

from attrs import frozen
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

Pack = Callable[[list[bytes]], bytes]

LEVEL = 6
DEFLATE_MIN = 128
"""Messages shorter than this, in bytes, are not worth deflating."""

GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""What opens a gzip body whose blocks `gzip_blocks` makes."""

_deflate = PerMessageDeflate(
    remote_no_context_takeover=True,
    local_no_context_takeover=True,
    remote_max_window_bits=15,
    local_max_window_bits=15,
    compress_settings={"level": LEVEL},
)


def plain(payloads: list[bytes]) -> bytes:
    """A body part: the payloads one after the other."""
    return b"".join(payloads)


def gzip_blocks(payloads: list[bytes]) -> bytes:
    """A body part inside a gzip body: one deflate block that leans on nothing before it
    (Z_FULL_FLUSH).
    """
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return packer.compress(b"".join(payloads)) + packer.flush(zlib.Z_FULL_FLUSH)


@frozen
class Open:
    """A body, or a gzip stream of one, that a tail may still end."""

    data: bytes
    gzip: bool = False
    crc: int = 0
    size: int = 0

    def ending(self, tail: bytes) -> bytes:
        """What follows on `data` where the body ends with this tail, of at most 64 KiB. It is sent
        after `data`, which so remains the same bytes for all.
        """
        if not self.gzip:
            return tail
        assert len(tail) <= 0xFFFF
        # One stored block: a tail is short, and made for every answer.
        block = b"\x01" + struct.pack("<HH", len(tail), len(tail) ^ 0xFFFF) + tail
        check = struct.pack(
            "<II", zlib.crc32(tail, self.crc), (self.size + len(tail)) & 0xFFFF_FFFF
        )
        return block + check


def gzip_open(body: bytes) -> Open:
    """The gzip stream of a body whose tail is still to come."""
    data = GZIP_HEAD + gzip_blocks([body])
    return Open(data, gzip=True, crc=zlib.crc32(body), size=len(body))


def frames(payloads: list[bytes]) -> bytes:
    """One WebSocket text message per payload."""
    return b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)


def deflated_frames(payloads: list[bytes]) -> bytes:
    """One WebSocket text message per payload, each compressed on its own (permessage-deflate
    without takeover).
    """
    return b"".join(map(_deflated_frame, payloads))


COMPRESSING = frozenset({gzip_blocks, deflated_frames})
"""The packings that take milliseconds for a full message."""


def _deflated_frame(payload: bytes) -> bytes:
    frame = Frame(Opcode.TEXT, payload)
    return frame.serialize(mask=False, extensions=[_deflate] if len(payload) >= DEFLATE_MIN else [])
