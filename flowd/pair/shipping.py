"""Frames on their way to the ledger, and who waits until they are there."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from flowd.pair.ledger import Deposed, Ledger, Shipped
from flowd.values.errors import UpstreamError, unwrap

logger = logging.getLogger("flowd.pair")

FRAMES_BYTES = 64 * 1024 * 1024
"""How much may wait to be shipped, and how much of it the ledger keeps."""
SHIP_BYTES = 512 * 1024
SHIP_COUNT = 500
"""How much is shipped at once."""
RETRY_S, RETRY_MAX_S = 0.1, 1.0
FRAME_BYTES = 100
"""What a frame takes beside what it says."""


class Shipping:
    """A leader's frames, in order, each until the ledger has it. Nothing of it waits for the disk
    or for the ledger but who asks for that.

    Where too much waits, all of it is let go of, and the ledger is told to begin anew with what
    comes next: a standby then wants a handover. So does one when the journal lost frames.
    """

    def __init__(
        self,
        ledger: Ledger,
        token: int,
        life: str,
        frame: int,
        on_deposed: Callable[[str], None],
        limit_bytes: int = FRAMES_BYTES,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        """What waits."""
        self.shipped: int | None = None
        """The ledger has everything up to this frame; None before it had any of this life."""
        self.frames = 0
        self.begun_anew = 0
        self.trouble: str | None = None
        self._ledger = ledger
        self._token = token
        self._life = life
        self._on_deposed = on_deposed
        self._noted = frame
        self._after = frame
        """The number behind which what waits begins."""
        self._waiting: deque[Shipped] = deque()
        self._there: deque[tuple[int, int]] = deque()
        """What the ledger keeps: number and bytes of each frame."""
        self._there_bytes = 0
        self._news = trio.Event()
        self._arrived = trio.Event()

    def note(self, number: int, payload: bytes) -> None:
        """A frame was written. Called in the very step of the task that changed something."""
        full = self.bytes + len(payload) + FRAME_BYTES > self.limit_bytes
        if full or number != self._noted + 1:
            if self.shipped is not None or full:
                logger.warning(
                    "frames up to %d do not go to the standby: %s; it will want the whole state",
                    number - 1,
                    "too many wait" if full else "the journal lost some",
                )
            self._waiting.clear()
            self.bytes, self._after = 0, number - 1
            self.begun_anew += 1
        self._waiting.append(Shipped(number, self._life, payload))
        self.bytes += len(payload) + FRAME_BYTES
        self._noted = number
        self._news.set()

    async def reached(self, frame: int) -> None:
        """Wait until the ledger has this frame, or one behind it."""
        while self.shipped is None or self.shipped < frame:
            await self._arrived.wait()

    async def run(self) -> None:
        """Ship until this is cancelled, or deposed."""
        wait_s = RETRY_S
        while True:
            await self._news.wait()
            after, portion = self._portion()
            try:
                await self._ledger.ship(self._token, after, portion)
            except* Deposed as errors:
                self._on_deposed(str(unwrap(errors)))
                await trio.sleep_forever()
            except* UpstreamError as errors:
                self.trouble = str(unwrap(errors))
            else:
                self.trouble, wait_s = None, RETRY_S
                self._done(after, portion)
                continue
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    def _portion(self) -> tuple[int, list[Shipped]]:
        """What goes next, and the number behind which it comes."""
        found: list[Shipped] = []
        size = 0
        for frame in self._waiting:
            if found and (size + len(frame.payload) > SHIP_BYTES or len(found) == SHIP_COUNT):
                break
            found.append(frame)
            size += len(frame.payload)
        return self._after, found

    def _done(self, after: int, portion: list[Shipped]) -> None:
        """The ledger has these."""
        if self.shipped != after:
            self._there.clear()
            self._there_bytes = 0
        for frame in portion:
            size = len(frame.payload) + FRAME_BYTES
            self._there.append((frame.number, size))
            self._there_bytes += size
            # It may have been let go of meanwhile, with all that waited.
            if self._waiting and self._waiting[0] is frame:
                self._waiting.popleft()
                self.bytes -= size
                self._after = frame.number
        self.frames += len(portion)
        self.shipped = portion[-1].number
        if not self._waiting:
            self._news = trio.Event()
        self._arrived.set()
        self._arrived = trio.Event()

    async def trim(self, upto: int) -> None:
        """Have the ledger let go of what nobody needs up to this frame, and of what is too much."""
        there = self._there
        kept = len(there)
        while there and (there[0][0] <= upto or self._there_bytes > self.limit_bytes):
            upto = max(upto, there[0][0])
            self._there_bytes -= there.popleft()[1]
        if len(there) < kept:
            await self._ledger.trim(self._token, upto)

    def figures(self) -> dict[str, Any]:
        """How it does, for `/status`."""
        return {
            "frames_shipped": self.frames,
            "frames_waiting_bytes": self.bytes,
            "frames_kept_bytes": self._there_bytes,
            "frames_begun_anew": self.begun_anew,
        }
