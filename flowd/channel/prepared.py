"""Bytes prepared once for all who ask the same: one cache for channels and polls, bounded in bytes.

What is kept is true for one version of a stream (its epoch, its head and how much of it is left),
so a key holds the version, the filter and the format, and never who asked: an entry outlives nobody
and nobody's entry is mistaken for another's.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")

PREPARED_BYTES = 96 * 1024 * 1024
ENTRY_BYTES = 1024
"""What an entry costs beside its bytes: tiny ones must not fill the memory."""


class Prepared(Generic[V]):
    """The newest-used entries whose bytes fit into `most_bytes`."""

    def __init__(self, most_bytes: int = PREPARED_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> V | None:
        """What was kept under this key and is still there."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of `size` bytes; the least used ones make room. One that is larger than all
        there is room for is not kept.
        """
        self.drop(key)
        size += ENTRY_BYTES
        if size > self.most_bytes:
            return
        self._kept[key] = (value, size)
        self.bytes += size
        while self.bytes > self.most_bytes:
            _, (_, old) = self._kept.popitem(last=False)
            self.bytes -= old

    def drop(self, key: Hashable) -> None:
        """Keep it no longer, if it was kept."""
        found = self._kept.pop(key, None)
        if found is not None:
            self.bytes -= found[1]

    def figures(self) -> dict[str, Any]:
        """What it takes of the memory, for `/status`."""
        return {"prepared_bytes": self.bytes}

    def bounds(self) -> dict[str, Any]:
        """The limit that it keeps, for `/status`."""
        return {"prepared_bytes": self.most_bytes}
