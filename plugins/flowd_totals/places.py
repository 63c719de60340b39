"""How far each input was read, and what several of them tell: each row once."""

from collections.abc import Callable, Iterator

import trio

from flowd.plugin import Cursor, Input, Once
from flowd_totals.intake import Value

PORTION = 1000
"""Rows looked at without letting other tasks run."""

News = Callable[[str], bool]


class Places:
    """A place in each input. `counts` says of which rows it matters that they come once."""

    def __init__(self, inputs: list[Input[Value]], counts: Callable[[Value], bool]) -> None:
        self._inputs = inputs
        self._counts = counts
        self._cursors: list[Cursor[Value]] = [one.cursor() for one in inputs]
        self._news: list[News] = []
        """Empty for one input alone, whose stream has each row once by itself."""

    async def load(self) -> None:
        """Learn what was counted, as far as the inputs still have it."""
        if len(self._inputs) == 1:
            return
        once = Once()
        for one, upto in zip(self._inputs, self.seqs, strict=True):
            seq, told = max(0, upto - once.REMEMBERED), list[str]()
            while seq < upto:
                batch = one.read(seq, first=True, upto=upto, limit=PORTION)
                told += (row.value.id for row in batch.records if self._counts(row.value))
                seq = batch.position.seq
                await trio.lowlevel.checkpoint()
            self._news.append(once.of(told))

    @property
    def seqs(self) -> list[int]:
        """Up to where each input was read."""
        return [cursor.position.seq for cursor in self._cursors]

    @property
    def level(self) -> bool:
        """Whether all that there is was read."""
        pairs = zip(self._cursors, self._inputs, strict=True)
        return all(cursor.position == one.head for cursor, one in pairs)

    def read(self, limit: int) -> Iterator[list[Value]]:
        """At most so many rows of each input that none has told before."""
        for number, cursor in enumerate(self._cursors):
            values = [record.value for record in cursor.read(limit=limit).records]
            if self._news:
                news = self._news[number]
                values = [one for one in values if not self._counts(one) or news(one.id)]
            yield values

    def done(self) -> None:
        """All that was read is saved. To be called in the step in which that is done."""
        for cursor in self._cursors:
            cursor.done()
