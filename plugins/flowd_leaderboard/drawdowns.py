"""The drawdowns of all accounts, as their own samples tell them: saved, and bounded."""

from typing import Any, Final

from attrs import frozen

from flowd.plugin import Feed, Input
from flowd.traders import Account
from flowd_leaderboard.drawdown import Drawdown, of_values

DRAWDOWNS_MAX: Final = 20_000


@frozen
class SavedDrawdown:
    """One account's drawdown, of its own samples."""

    address: str
    drawdown: Drawdown


class Drawdowns:
    """Each account's drawdown as its own samples tell it, step by step, and saved."""

    def __init__(self, feed: Feed[Any], equity: Input[Any] | None) -> None:
        self._table = feed.table("drawdowns", SavedDrawdown)
        self._kept = {r.value.address: r.value.drawdown for r in self._table.after(0)}
        self._equity = equity

    def copy(self) -> dict[str, Drawdown]:
        """All of them as they are now."""
        return dict(self._kept)

    async def run(self, accounts: Input[Account]) -> None:
        """Follow all accounts' states; ends when they do."""
        async for record in accounts.cursor().records():
            self._take(record.value)

    def _take(self, account: Account) -> None:
        equity, address = float(account.equity), account.address
        before = self._kept.pop(address, None) or self._past(address, account.time_ms)
        now = (
            Drawdown(equity, account.time_ms)
            if before is None
            else before.value(equity, account.time_ms)
        )
        self._kept[address] = now
        self._table.append(SavedDrawdown(address, now), key=address)
        if len(self._kept) > DRAWDOWNS_MAX:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._table.forget(oldest)

    def _past(self, address: str, before_ms: int) -> Drawdown | None:
        """What was sampled of an account before this is the first that we see of it."""
        past = None if self._equity is None else self._equity.get(address)
        samples = getattr(past, "samples", ())
        return of_values([one for one in samples if one[0] < before_ms])
