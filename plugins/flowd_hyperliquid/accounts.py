"""The accounts that are tracked: takes states and fills, tells what changed.

Everything is in the component's streams. A state or a fill is taken in one step, with all that
follows from it, so that a crash between two of them neither repeats nor loses an event.
"""

from collections import OrderedDict
from decimal import Decimal

from flowd.market import Fill
from flowd.plugin import Feed, Stream
from flowd.traders import Account, Equity, OpenPosition, PositionEvent
from flowd_hyperliquid.changes import Before, compared, filled, missed
from flowd_hyperliquid.covered import Coverage, Known, in_states
from flowd_hyperliquid.equity import grown

FORCED_MAX = 50_000
"""Liquidations that are remembered, to mark the events which they caused."""


class Accounts:
    """The tracked accounts, their equities, and the events of their positions."""

    def __init__(
        self,
        feed: Feed[PositionEvent],
        coverage: Coverage,
        known: Known,
        *,
        least: Decimal = Decimal(0),
    ) -> None:
        self._feed = feed
        self._accounts: Stream[Account] = feed.table("accounts", Account)
        self._equities: Stream[Equity] = feed.table("equity", Equity)
        self._coverage = coverage
        self._known = known
        self._least = least
        self._forced: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.marks: dict[str, Decimal] = {}
        """The mark prices that the venue told last, by symbol."""
        self.created: dict[str, int] = {}
        self.consumed: dict[str, int] = {}
        """OPEN events and liquidations by symbol, for who asks and sets them back."""

    def visits(self) -> dict[str, int]:
        """When each account was visited last, by this machine's clock."""
        return {one.value.address: one.time_ms for one in self._accounts.after(0)}

    def state_ms(self, address: str) -> int | None:
        """Of when an account's state is, by the venue's clock; None for who was never visited."""
        account = self._accounts.get(address)
        return None if account is None else account.time_ms

    def values(self) -> list[Account]:
        """All of them, as of one instant."""
        return [record.value for record in self._accounts.after(0)]

    def take(self, account: Account) -> bool:
        """A state came. False when it is no newer than the last, and counts for nothing."""
        address = account.address
        last = self._accounts.get(address)
        if last is not None:
            if account.time_ms <= last.time_ms:
                if account.time_ms < last.time_ms:
                    self._feed.drop("state out of order")
                return False
            self._compare(last, account)
        self._known.confirmed(address, account.time_ms)
        self._accounts.append(account, key=address)
        equity = self._equities.get(address)
        points = grown("" if equity is None else equity.points, account.time_ms, account.equity)
        self._equities.append(Equity(address, account.venue, points), key=address)
        return True

    def fill(self, fill: Fill) -> None:
        """A fill came. Nothing for an account that is not tracked, since what it held is unknown,
        or when comparison has told it.
        """
        if fill.role == "liquidated":
            self.forced(fill)
        last = self._accounts.get(fill.address)
        if last is None or not _perpetual(fill.symbol):
            return
        compared = in_states(fill.symbol)
        if compared and self._known.told(fill):
            return
        event = filled(fill, detected_ms=self._feed.clock())
        if event is None:
            return
        held = next((one for one in last.positions if one.symbol == fill.symbol), None)
        was = self._before(last, held, fill.symbol)
        if fill.time_ms > last.time_ms or not compared:
            if was is not None and fill.time_ms < was.time_ms:
                # Fills come in their order: what this one did was told when the next one came.
                self._feed.drop("fill too late")
                return
            if was is not None and was.size != fill.start_position:
                self._missed(fill, was)
            self._known.fill(fill)
        self._tell(event)

    def forced(self, fill: Fill) -> None:
        """A liquidation: it marks the event that it caused, which may be told later."""
        self._forced[fill.address, fill.symbol] = fill.time_ms
        self._forced.move_to_end((fill.address, fill.symbol))
        if len(self._forced) > FORCED_MAX:
            self._forced.popitem(last=False)

    def drop(self, address: str) -> None:
        """Forget an account that nobody is interested in any more."""
        self._accounts.forget(address)
        self._equities.forget(address)
        self._known.drop(address)

    def _compare(self, last: Account, account: Account) -> None:
        address, figures = account.address, self._feed.tally.figures
        before = {one.symbol: one for one in last.positions}
        now = {one.symbol: one for one in account.positions}
        known = {symbol for symbol in self._known.symbols(address) if in_states(symbol)}
        by_comparison = not self._coverage.covers(last.time_ms, account.time_ms)
        for symbol in sorted(before.keys() | now.keys() | known):
            was = self._before(last, before.get(symbol), symbol)
            if was is None or was.time_ms > account.time_ms:
                continue
            size = now[symbol].size if symbol in now else Decimal(0)
            if was.size == size:
                if _turned_over(before.get(symbol), now.get(symbol)) and by_comparison:
                    figures["unseen_turnover"] = figures.get("unseen_turnover", 0) + 1
            elif by_comparison:
                self._changed(account, symbol, was, now.get(symbol), before.get(symbol))
            else:
                figures["reconciled"] = figures.get("reconciled", 0) + 1
        if by_comparison and self._coverage:
            self._known.compared(address, account.time_ms)

    def _missed(self, fill: Fill, was: Before) -> None:
        """A fill began elsewhere than the one before ended: something happened in between."""
        if self._coverage.covers(was.time_ms, fill.time_ms):
            self._feed.drop("fills do not follow each other")
        event = missed(fill, was, detected_ms=self._feed.clock())
        if event is not None:
            self._tell(event)

    def _before(self, last: Account, position: OpenPosition | None, symbol: str) -> Before | None:
        """What is known of a position: by the last state, or by a fill that came after it. None
        for nothing: states do not tell of it, and no fill did.
        """
        told = self._known.get(last.address, symbol)
        if not in_states(symbol) or (told is not None and told.time_ms >= last.time_ms):
            return told
        if position is None:
            return Before(Decimal(0), last.time_ms)
        return Before(position.size, last.time_ms, position.entry_price)

    def _changed(
        self,
        account: Account,
        symbol: str,
        was: Before,
        now: OpenPosition | None,
        before: OpenPosition | None,
    ) -> None:
        mark = self.marks.get(symbol) or (None if before is None else before.mark_price)
        forced_ms = self._forced.get((account.address, symbol))
        event = compared(
            account,
            symbol,
            was,
            now,
            detected_ms=self._feed.clock(),
            least=self._least,
            mark=mark,
            liquidated=forced_ms is not None and was.time_ms <= forced_ms <= account.time_ms,
        )
        if event is not None:
            self._tell(event)

    def _tell(self, event: PositionEvent) -> None:
        if self._feed.publish(event, id=event.id) is not None:
            if event.event == "OPEN":
                self.created[event.symbol] = self.created.get(event.symbol, 0) + 1
            if event.liquidated:
                self.consumed[event.symbol] = self.consumed.get(event.symbol, 0) + 1


def _turned_over(before: OpenPosition | None, now: OpenPosition | None) -> bool:
    """Whether a position of the same size was bought at another price."""
    return before is not None and now is not None and before.entry_price != now.entry_price


def _perpetual(symbol: str) -> bool:
    """Whether a fill is of a perpetual, and no spot trade."""
    return not symbol.startswith("@") and "/" not in symbol
