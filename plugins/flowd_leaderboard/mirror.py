"""The newest values of a table, kept up in slices, so that all of them can be had in one step."""

from typing import Any, Final, Generic, TypeVar

import trio

from flowd.plugin import Input

T = TypeVar("T")

SLICE: Final = 500


class Mirror(Generic[T]):
    """`values` by key, as of when it was last caught up; of no table, nothing."""

    def __init__(self, table: Input[Any] | None) -> None:
        self.values: dict[str, T] = {}
        self._table = table
        self._seq = 0

    async def catch_up(self) -> None:
        """Read most of what is new, letting others run, and forget what is not there any more."""
        if self._table is None:
            return
        while self._seq != self._table.head.seq:
            self._take(SLICE)
            await trio.lowlevel.checkpoint()
        if len(self.values) > len(self._table):
            for number, key in enumerate(list(self.values)):
                if self._table.get(key) is None:
                    del self.values[key]
                if number % SLICE == 0:
                    await trio.lowlevel.checkpoint()

    def copy(self) -> dict[str, T]:
        """All values as they are now."""
        if self._table is not None:
            self._take(None)
        return dict(self.values)

    def _take(self, limit: int | None) -> None:
        assert self._table is not None
        batch = self._table.read(self._seq, first=self._seq == 0, limit=limit)
        for record in batch.records:
            if record.key is not None:
                self.values[record.key] = record.value
        self._seq = batch.position.seq
