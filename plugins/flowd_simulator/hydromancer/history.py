"""The blocks of the last seconds, for sessions that come back."""

from collections import deque

from flowd_simulator.chain.rows import Block


class History:
    """Blocks in their order, none older than the newest by more than `seconds`."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()

    @property
    def newest(self) -> int:
        """The number of the newest block, 0 when there is none."""
        return self._blocks[-1].number if self._blocks else 0

    def add(self, block: Block) -> None:
        """A block happened."""
        self._blocks.append(block)

    def trim(self, since_ms: int) -> None:
        """Forget what is older."""
        while self._blocks and self._blocks[0].time_ms < since_ms:
            self._blocks.popleft()

    def after(self, number: int, overlap: int = 0) -> tuple[list[Block], bool]:
        """The blocks after this one (and `overlap` before), and whether some are gone already."""
        kept = [block for block in self._blocks if block.number > number - overlap]
        oldest = self._blocks[0].number if self._blocks else number + 1
        return kept, oldest > number + 1


def place(cursor: str) -> int | None:
    """The number of the block that a cursor names."""
    number, _, _ = cursor.partition(":")
    return int(number) if number.isascii() and number.isdigit() else None
