"""The table of traders: what the trades that were published add up to, for each account.

It is counted by reading them, once a second, so an account is written once a second at most. How
far that is done stands in a private table, written in one step with the accounts: whatever happens
between two steps, the next run goes on from there and counts nothing twice and nothing not.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import trio
from attrs import frozen

from flowd.market import Fill, Trade
from flowd.plugin import Cursor, Feed, Input, Position, Stream
from flowd.traders import Account, Trader
from flowd_hyperliquid.newest import Newest
from flowd_hyperliquid.roll import Roll
from flowd_hyperliquid.sight import Sight

EVERY_S: Final = 1.0
READ: Final = 500
"""Records that are read between two checkpoints."""
WRITE: Final = 25
"""Accounts that are written between two checkpoints: a step takes about a millisecond."""
PASS_MAX: Final = 20_000
"""Records of one stream that are counted together."""
FINISH_MAX: Final = 1000
"""What is counted when a run ends, in one step; the next run counts what is more."""
COUNTED: Final = "counted"


@frozen
class Counted:
    """Up to which seq each stream is counted; and, in the middle of writing, up to which it is
    counted for the accounts up to `done`, in the order of their addresses.
    """

    seqs: dict[str, int]
    ahead: dict[str, int]
    done: str = ""


class Census:
    """Keeps the table of traders. One task runs it; `finish` comes after that has ended."""

    def __init__(
        self,
        feed: Feed[Trader],
        trades: Stream[Trade],
        newest: Newest,
        *,
        coins: frozenset[str],
        excluded: frozenset[str],
        max_traders: int,
        fills: Input[Fill] | None = None,
        liquidations: Input[Fill] | None = None,
        accounts: Input[Account] | None = None,
    ) -> None:
        self._feed = feed
        self._trades = trades
        self._newest = newest
        self._coins = coins
        self._excluded = excluded
        self._roll = Roll(feed, max_traders, accounts)
        self._inputs: dict[str, Stream[Any] | Input[Any]] = {trades.name: trades}
        self._counting: set[str] = set()
        """The streams of fills that count. Of liquidations none does: all fills have them too."""
        if fills is not None:
            self._inputs[fills.name] = fills
            self._counting.add(fills.name)
        if liquidations is not None:
            self._inputs.setdefault(liquidations.name, liquidations)
        self._table = feed.table(COUNTED, Counted)

    @property
    def _counted(self) -> Counted:
        return self._table.get(COUNTED) or Counted({}, {})

    async def resume(self) -> None:
        """Before the first record of this run: learn what earlier ones left."""
        for _ in self._roll.resume():
            await trio.lowlevel.checkpoint()
        seq = self._counted.seqs.get(self._trades.name, 0)
        for index, record in enumerate(self._trades.after(seq)):
            self._newest.note(record.value)
            if index % READ == 0:
                await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Count for ever."""
        while True:
            for _ in self.count():
                await trio.lowlevel.checkpoint()
            await trio.sleep(EVERY_S)

    def finish(self) -> None:
        """Count the trades that are left when a run ends, at once, unless that would take long."""
        counted, trades = self._counted, self._trades
        left = trades.seq - counted.seqs.get(trades.name, 0)
        left += sum(upto - counted.seqs.get(name, 0) for name, upto in counted.ahead.items())
        if left <= FINISH_MAX:
            for _ in self.count([trades.name]):
                pass

    def count(self, names: Iterable[str] | None = None) -> Iterator[None]:
        """Count what is new in these streams, or in all, a step at a time. Wherever this stops, it
        can be left.
        """
        counted = self._counted
        if counted.ahead:
            # An earlier pass was left in the middle, and first comes to its end.
            yield from self._write(counted.ahead, counted.done)
        ahead: dict[str, int] = {}
        for name in self._inputs if names is None else names:
            cursor = self._cursor(name, self._counted.seqs.get(name))
            start, head = cursor.position.seq, self._inputs[name].head.seq
            ahead[name] = min(head, start + PASS_MAX)
        if any(self._counted.seqs.get(name) != upto for name, upto in ahead.items()):
            yield from self._write(ahead, "")

    def _write(self, ahead: dict[str, int], done: str) -> Iterator[None]:
        """Add up these streams, up to there, for the accounts that are not done, and write them."""
        seqs = self._counted.seqs
        sights: dict[str, Sight] = {}
        for name, upto in ahead.items():
            if name in self._inputs:  # It may be configured no more.
                yield from self._read(name, seqs.get(name), upto, done, sights)
        yield from self._newest.save()
        addresses = sorted(sights)
        for start in range(0, len(addresses), WRITE):
            part = addresses[start : start + WRITE]
            for address in part:
                self._roll.put(address, sights[address])
            if start + WRITE < len(addresses):
                self._table.append(Counted(seqs, ahead, part[-1]), key=COUNTED)
                yield
        self._table.append(Counted({**seqs, **ahead}, {}), key=COUNTED)
        for name in ahead:
            if name in self._inputs:
                # Streams hold for us what we have not dealt with: this is how far we are.
                self._cursor(name, ahead[name]).done()
        self._feed.tally.figures["traders"] = len(self._roll)

    def _cursor(self, name: str, seq: int | None) -> Cursor[Any]:
        input = self._inputs[name]
        if seq is None:
            return input.cursor()
        return input.cursor(after=Position(input.head.epoch, seq))

    def _read(
        self, name: str, seq: int | None, upto: int, done: str, sights: dict[str, Sight]
    ) -> Iterator[None]:
        """Add up what each account did in one stream."""
        cursor = self._cursor(name, seq)
        while cursor.position.seq < upto:
            for record in cursor.read(limit=READ).records:
                if record.seq > upto:
                    break
                value: Trade | Fill = record.value
                if name == self._trades.name and isinstance(value, Trade):
                    # Of a trade that a standby was told instead, nobody else took note.
                    self._newest.note(value)
                for address in self._seen(value):
                    if address <= done:
                        continue
                    sight = sights.get(address)
                    if sight is None:
                        sight = sights[address] = Sight(value.time_ms)
                    if isinstance(value, Trade) or (
                        name in self._counting and value.symbol not in self._coins
                    ):
                        sight.count(value.time_ms, value.symbol, value.notional)
                    else:
                        sight.see(value.time_ms, value.symbol)
            yield

    def _seen(self, value: Trade | Fill) -> set[str]:
        if isinstance(value, Trade):
            found = {one for one in (value.buyer, value.seller) if one is not None}
        else:
            found = {value.address}
        return found - self._excluded
