"""The columns of a stream, found by symbol and time, and decoded once for all who ask."""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict

import trio

from flowd.plugin import Input
from flowd_heatmap.columns import unpacked
from flowd_heatmap.picture import Decoded
from flowd_heatmap.records import Column

READ = 1000
"""Records that are noted in one step of the loop."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of decoded columns."""
ENTRY_BYTES = 600
"""What a decoded column costs beside its codes."""


class Past:
    """Where columns lie, kept up to date by whoever asks."""

    def __init__(self, columns: Input[Column]) -> None:
        self._columns = columns
        self._seq = 0
        self._times: dict[str, list[int]] = {}
        self._reading = trio.Lock()

    async def update(self) -> None:
        """Note what is new in the stream."""
        async with self._reading:
            while self._seq < self._columns.head.seq:
                batch = self._columns.read(self._seq, first=True, limit=READ)
                self._seq = batch.position.seq
                for record in batch.records:
                    self._note(record.value)
                await trio.lowlevel.checkpoint()

    def _note(self, column: Column) -> None:
        times = self._times.setdefault(column.symbol, [])
        if not times or column.time_ms > times[-1]:
            times.append(column.time_ms)
        elif times[bisect_left(times, column.time_ms)] != column.time_ms:
            insort(times, column.time_ms)

    @property
    def symbols(self) -> list[str]:
        """The symbols that there are columns of."""
        return sorted(self._times)

    def span(self, symbol: str) -> tuple[int, int] | None:
        """When the first and the newest column's candles opened."""
        times = self._times.get(symbol)
        return (times[0], times[-1]) if times else None

    def between(self, symbol: str, start_ms: int, end_ms: int) -> list[Column]:
        """The columns of candles that opened in a range, both ends included, oldest first."""
        times = self._times.get(symbol, [])
        found, gone = [], []
        for time_ms in times[bisect_left(times, start_ms) : bisect_right(times, end_ms)]:
            column = self._columns.get(f"{symbol}/{time_ms}")
            if column is None:
                gone.append(time_ms)
            else:
                found.append(column)
        for time_ms in gone:
            times.remove(time_ms)
        return found


class Decoder:
    """Decodes columns, and keeps what it decoded, up to `KEPT_BYTES`. For one thread at a time."""

    def __init__(self) -> None:
        self.bytes = 0
        self._kept: OrderedDict[str, Decoded] = OrderedDict()

    def decode(self, columns: list[Column]) -> list[Decoded]:
        """The codes of these columns."""
        found = []
        for column in columns:
            key = column.key
            one = self._kept.get(key)
            if one is None or one.column is not column:
                if one is not None:
                    self._drop(key)
                one = Decoded(column, unpacked(column.long), unpacked(column.short))
                self._kept[key] = one
                self.bytes += _size(one)
            else:
                self._kept.move_to_end(key)
            found.append(one)
        while self.bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))
        return found

    def _drop(self, key: str) -> None:
        self.bytes -= _size(self._kept.pop(key))


def _size(one: Decoded) -> int:
    return ENTRY_BYTES + len(one.long) + len(one.short)
