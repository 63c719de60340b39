"""The orders of all inputs: each input with a place of its own, each order once."""

from attrs import frozen

from flowd.market import Fill, Liquidation
from flowd.plugin import Cursor, Input, Once, Stream
from flowd_liquidations.accumulator import Accumulator, order_of
from flowd_liquidations.timeframe import MINUTE_MS

Order = Liquidation | Fill


@frozen
class Reached:
    """The newest order of one place that was counted is of this minute: what is missed later on
    happened after it.
    """

    time_ms: int


class Reader:
    """One input's orders at one pace."""

    def __init__(
        self, input: Input[Order], place: str, reached: Stream[Reached], newest_ms: int
    ) -> None:
        self.input = input
        self.cursor: Cursor[Order] = input.cursor(place=place)
        self.done = self.cursor.position.seq
        self._name = f"{input.name}#{place}" if place else input.name
        self._table = reached
        saved = reached.get(self._name)
        self._saved_ms = 0 if saved is None else saved.time_ms
        self.newest_ms = self._saved_ms or newest_ms

    def told(self) -> list[str]:
        """The ids of what was counted, as far as it is still there, the newest last."""
        batch = self.input.read(max(0, self.done - Once.REMEMBERED), first=True, upto=self.done)
        return [one.value.id for one in batch.records if order_of(one.value) is not None]

    def dealt_with(self) -> None:
        """All that was read is published."""
        self.cursor.done()
        self.done = self.cursor.position.seq
        minute_ms = self.newest_ms - self.newest_ms % MINUTE_MS
        if minute_ms != self._saved_ms:
            self._saved_ms = minute_ms
            self._table.append(Reached(minute_ms), key=self._name)


class Orders:
    """All inputs as one pace reads them. `newest_ms` is the newest order that was counted, where
    nobody noted of which input.
    """

    def __init__(
        self, inputs: list[Input[Order]], place: str, reached: Stream[Reached], newest_ms: int
    ) -> None:
        self._readers = [Reader(one, place, reached, newest_ms) for one in inputs]
        once = Once()
        several = len(inputs) > 1
        self._told = [once.of(one.told()) if several else None for one in self._readers]

    @property
    def seqs(self) -> list[int]:
        """Up to where each was read."""
        return [reader.cursor.position.seq for reader in self._readers]

    @property
    def pending(self) -> bool:
        """Whether something was read that is not published."""
        return any(one.cursor.position.seq > one.done for one in self._readers)

    def add_to(self, accumulator: Accumulator, limit: int) -> bool:
        """Count at most so many of each input; true when that was all there is."""
        level = True
        for reader, told in zip(self._readers, self._told, strict=True):
            batch = reader.cursor.read(limit=limit)
            since_ms = reader.newest_ms
            if told is None:
                reader.newest_ms = accumulator.add(batch, since_ms)
            else:
                reader.newest_ms = accumulator.add(batch, since_ms, told)
            level = level and reader.cursor.position == reader.input.head
        return level

    def done(self) -> None:
        """All that was read is published. To be called in the step in which that is done."""
        for reader in self._readers:
            reader.dealt_with()
