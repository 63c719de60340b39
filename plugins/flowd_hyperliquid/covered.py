"""Which changes fills have told, so that the comparison of two states does not tell them again.

A stream of fills covers an account from one instant to another when it was delivered all the time
between them. Then each change came as a fill, and states only correct what is known. Whenever it
was not, the change is found by comparison, and fills that come late for it are not told.
"""

from decimal import Decimal

from attrs import frozen

from flowd.market import Fill
from flowd.plugin import Clock, Input, Outage, Stream
from flowd_hyperliquid.changes import Before, after

MARGIN_MS = 2000
"""An outage is by two clocks: what happened so close to it may lie in it."""
FLAT_KEPT_MS = 3_600_000
"""So long it is known that a position was closed which no state tells of."""


def in_states(symbol: str) -> bool:
    """Whether an account's state tells of its positions in this symbol: it does not of those on
    builders' dexes, nor of outcomes. Of these only fills are known.
    """
    return ":" not in symbol and not symbol.startswith("#")


@frozen
class Size:
    """A position's size after a fill, at `time_ms`."""

    size: Decimal
    time_ms: int


@frozen
class Upto:
    """Until then all changes of an account were told by comparison."""

    time_ms: int


@frozen
class Since:
    """From then on a stream of fills was read."""

    time_ms: int


class Coverage:
    """Whether a stream of fills told everything between two instants."""

    def __init__(
        self,
        fills: Input[Fill] | None,
        outages: Input[Outage] | None,
        reader: str,
        since: Stream[Since],
        clock: Clock,
    ) -> None:
        self._fills = fills
        self._outages = outages
        self._of = {reader} if fills is None else {reader, fills.name}
        self._seq = -1
        self._spans: list[tuple[int, int | None]] = []
        self._since_ms = clock()
        if fills is not None:
            known = since.get(fills.name)
            if known is None:
                since.append(Since(self._since_ms), key=fills.name)
            else:
                self._since_ms = known.time_ms

    def __bool__(self) -> bool:
        """Whether there is a stream of fills at all."""
        return self._fills is not None

    def covers(self, from_ms: int, to_ms: int) -> bool:
        """Whether every fill between these times was told, or is about to be."""
        fills, outages = self._fills, self._outages
        if fills is None or from_ms < self._since_ms or not fills.delivery().delivering:
            return False
        if outages is not None and outages.head.seq != self._seq:
            batch = outages.read(0)
            self._seq = batch.position.seq
            told = (record.value for record in batch.records)
            self._spans = [(one.from_ms, one.to_ms) for one in told if one.component in self._of]
        return not any(
            start - MARGIN_MS <= to_ms and (end is None or from_ms <= end + MARGIN_MS)
            for start, end in self._spans
        )


class Known:
    """The sizes that fills told since each account's last state, or ever where states tell none,
    and how far comparison has told.

    Both are kept in tables: after a crash no change is told twice.
    """

    def __init__(self, sizes: Stream[Size], told: Stream[Upto]) -> None:
        self._sizes = sizes
        self._told = told
        self._of: dict[str, set[str]] = {}
        for record in sizes.after(0):
            assert record.key is not None
            address, _, symbol = record.key.partition("/")
            self._of.setdefault(address, set()).add(symbol)

    def symbols(self, address: str) -> set[str]:
        """The symbols of which fills told something that no state has confirmed yet."""
        return self._of.get(address, set())

    def get(self, address: str, symbol: str) -> Before | None:
        """What a fill told last of this position."""
        size = self._sizes.get(f"{address}/{symbol}")
        return None if size is None else Before(size.size, size.time_ms)

    def fill(self, fill: Fill) -> None:
        """A fill changed a position."""
        if fill.start_position is not None:
            size = Size(after(fill, fill.start_position), fill.time_ms)
            self._sizes.append(size, key=f"{fill.address}/{fill.symbol}")
            self._of.setdefault(fill.address, set()).add(fill.symbol)

    def confirmed(self, address: str, time_ms: int) -> None:
        """A state tells the positions of an account at this time: what is older is of no use,
        unless states do not tell it.
        """
        symbols = self._of.get(address)
        for symbol in list(symbols or ()):
            size = self._sizes.get(f"{address}/{symbol}")
            if size is not None and not in_states(symbol):
                over = not size.size and size.time_ms + FLAT_KEPT_MS <= time_ms
            else:
                over = size is None or size.time_ms <= time_ms
            if over:
                self._sizes.forget(f"{address}/{symbol}")
                assert symbols is not None
                symbols.discard(symbol)
        if not symbols:
            self._of.pop(address, None)

    def compared(self, address: str, time_ms: int) -> None:
        """All changes of this account until then were told by comparison."""
        self._told.append(Upto(time_ms), key=address)

    def told(self, fill: Fill) -> bool:
        """Whether comparison has told what this fill did."""
        upto = self._told.get(fill.address)
        return upto is not None and fill.time_ms <= upto.time_ms

    def drop(self, address: str) -> None:
        """Nobody is interested in this account any more."""
        for symbol in self._of.pop(address, set()):
            self._sizes.forget(f"{address}/{symbol}")
        self._told.forget(address)
