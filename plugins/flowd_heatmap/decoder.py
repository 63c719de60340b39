"""Columns, decoded once for all who ask."""

from collections import OrderedDict

from flowd_heatmap.columns import unpacked
from flowd_heatmap.picture import Decoded
from flowd_heatmap.records import Column

KEPT_BYTES = 64 * 1024 * 1024
"""Of decoded columns."""
ENTRY_BYTES = 600
"""What a decoded column costs beside its codes."""


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
