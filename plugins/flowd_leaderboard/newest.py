"""The newest records of each address in a stream, kept up to date by whoever asks."""

from collections import deque
from typing import Any, Final

import trio

from flowd.plugin import Input, Record

AT_ONCE: Final = 1000
"""Records that are looked at before others are let run."""


class Newest:
    """Finds an address's newest records without looking at all others each time: who asks reads
    what is new since the last who did. It holds no more than the stream retains.
    """

    def __init__(self, records: Input[Any], most: int) -> None:
        self._records = records
        self._most = most
        self._seq = 0
        self._oldest = 0
        self._noted: deque[Record[Any]] = deque()
        self._of: dict[str, list[Record[Any]]] = {}

    async def of(self, address: str) -> list[Record[Any]]:
        """The newest of this address that are retained, newest first, at most so many. Others are
        let run in between.
        """
        head = self._records.head.seq
        # Between two checkpoints nothing else runs: whoever asks meanwhile takes the next portion.
        while self._seq < head:
            self._read()
            await trio.lowlevel.checkpoint()
        self._forget()
        found = self._of.get(address, ())
        return [record for record in reversed(found) if record.seq >= self._oldest]

    def _read(self) -> None:
        batch = self._records.read(self._seq, limit=AT_ONCE)
        self._seq = batch.position.seq
        for record in batch.records:
            kept = self._of.setdefault(record.value.address, [])
            kept.append(record)
            if len(kept) > self._most:
                del kept[0]
        self._noted.extend(batch.records)
        self._forget()

    def _forget(self) -> None:
        """Let go of what the stream has let go, as much at once as was taken in, twice."""
        first = self._records.read(0, first=True, limit=1).records
        self._oldest = first[0].seq if first else self._records.head.seq + 1
        for _ in range(2 * AT_ONCE):
            if not self._noted or self._noted[0].seq >= self._oldest:
                break
            gone = self._noted.popleft()
            kept = self._of.get(gone.value.address, [])
            if kept and kept[0] is gone:
                del kept[0]
            if not kept:
                self._of.pop(gone.value.address, None)
