"""One account's trips, from its fills as they come: what each position brought, from its first fill
to its last.

Fills of one coin are taken by their time. Those of the newest millisecond wait, since more of it
may come and only together they tell their order; what is older than what was dealt with is not
taken again. So a fill that comes twice, after a crash or from two places, counts once.
"""

from decimal import Context, Decimal
from typing import Final

from flowd.market import EXACT
from flowd_leaderboard.chain import Leg, chained

COINS_MAX: Final = 256
"""Of one account. Of more, those traded least recently are forgotten, flat ones first."""
WAITING_MAX: Final = 2_000
"""Fills of one coin in one millisecond, which is one block."""

_ZERO = Decimal(0)
_ROUNDING = Context(prec=60)
_SMALLEST = Decimal("1e-18")


class Trip:
    """A position that is open. `whole` says that it is known from its first fill on."""

    __slots__ = ("fee", "pnl", "whole")

    def __init__(self, whole: bool, pnl: Decimal = _ZERO, fee: Decimal = _ZERO) -> None:
        self.whole = whole
        self.pnl = pnl
        self.fee = fee


class Holding:
    """One coin: the position after all fills up to `upto_ms`, the trip that it is part of, and the
    fills of `waiting_ms`.
    """

    __slots__ = ("position", "trip", "upto_ms", "waiting", "waiting_ms")

    def __init__(
        self,
        upto_ms: int = 0,
        position: Decimal | None = None,
        trip: Trip | None = None,
        waiting: list[Leg] | None = None,
    ) -> None:
        self.upto_ms = upto_ms
        self.position = position
        self.trip = trip
        self.waiting = waiting or []
        self.waiting_ms = self.waiting[0].time_ms if self.waiting else 0

    def copy(self) -> "Holding":
        """Another one with the same content."""
        trip = self.trip
        copied = trip and Trip(trip.whole, trip.pnl, trip.fee)
        return Holding(self.upto_ms, self.position, copied, list(self.waiting))


class Sums:
    """What completed trips and all fills of an account come to. Nets are after fees."""

    __slots__ = (
        "fills",
        "first_ms",
        "last_ms",
        "losses",
        "lost",
        "most_lost",
        "most_won",
        "partial",
        "trips",
        "volume",
        "wins",
        "won",
    )

    def __init__(self) -> None:
        self.trips = 0
        self.partial = 0
        """Completed ones that are not known from their first fill to their last."""
        self.wins = 0
        self.losses = 0
        self.won = self.lost = self.most_won = self.most_lost = _ZERO
        """The sums and the largest, all positive."""
        self.volume = _ZERO
        self.fills = 0
        self.first_ms: int | None = None
        self.last_ms = 0

    def copy(self) -> "Sums":
        """Another one with the same content."""
        made = Sums.__new__(Sums)
        for name in Sums.__slots__:
            setattr(made, name, getattr(self, name))
        return made

    def complete(self, trip: Trip) -> None:
        """This trip has ended."""
        if not trip.whole:
            self.partial += 1
            return
        self.trips += 1
        net = EXACT.subtract(trip.pnl, trip.fee)
        if net > 0:
            self.wins += 1
            self.won = EXACT.add(self.won, net)
            self.most_won = max(self.most_won, net)
        elif net < 0:
            self.losses += 1
            self.lost = EXACT.subtract(self.lost, net)
            self.most_lost = max(self.most_lost, -net)


class Trips:
    """The trips of one account. `sums` has those that fills have ended which are `settled`."""

    __slots__ = ("_floor_ms", "holdings", "sums")

    def __init__(
        self,
        sums: Sums | None = None,
        holdings: dict[str, Holding] | None = None,
        floor_ms: int = 0,
    ) -> None:
        self.sums = sums or Sums()
        self.holdings = {} if holdings is None else holdings
        """By coin, the one that was traded last at the end."""
        self._floor_ms = floor_ms

    @property
    def floor_ms(self) -> int:
        """Fills of coins that were forgotten are not taken up to here."""
        return self._floor_ms

    def copy(self) -> "Trips":
        """Another one with the same content, which goes its own way from here."""
        holdings = {symbol: holding.copy() for symbol, holding in self.holdings.items()}
        return Trips(self.sums.copy(), holdings, self._floor_ms)

    def add(self, symbol: str, leg: Leg) -> bool:
        """Take a fill; False when it came before, or is older than what was dealt with."""
        holding = self.holdings.get(symbol)
        if holding is None:
            if leg.time_ms <= self._floor_ms:
                return False
            if len(self.holdings) >= COINS_MAX:
                self._forget_one()
            holding = self.holdings[symbol] = Holding()
        time_ms = leg.time_ms
        if holding.waiting:
            if time_ms < holding.waiting_ms or not _fits(holding.waiting, leg):
                return False
            if time_ms > holding.waiting_ms:
                self._settle(holding)
        elif time_ms <= holding.upto_ms:
            return False
        holding.waiting.append(leg)
        holding.waiting_ms = time_ms
        self.holdings[symbol] = self.holdings.pop(symbol)
        sums = self.sums
        sums.volume = EXACT.add(sums.volume, leg.notional)
        sums.fills += 1
        sums.first_ms = time_ms if sums.first_ms is None else min(sums.first_ms, time_ms)
        sums.last_ms = max(sums.last_ms, time_ms)
        return True

    def settle(self, before_ms: int) -> bool:
        """No more fills of what happened before this time will come. Whether any had waited."""
        settled = False
        for holding in self.holdings.values():
            if holding.waiting and holding.waiting_ms < before_ms:
                self._settle(holding)
                settled = True
        return settled

    def _settle(self, holding: Holding) -> None:
        legs, holding.waiting = holding.waiting, []
        for leg in chained(legs, holding.position):
            self._step(holding, leg)
        holding.upto_ms = holding.waiting_ms

    def _step(self, holding: Holding, leg: Leg) -> None:
        """The position changes by this fill."""
        start, end, trip = leg.start, leg.end, holding.trip
        if start != holding.position:
            # Fills are missing, or nothing was known before.
            if trip is not None:
                trip.whole = False
                if start * (holding.position or _ZERO) <= 0:
                    self.sums.complete(trip)
                    trip = None
            if trip is None and start:
                trip = Trip(whole=False)
        if trip is None:
            trip = Trip(whole=True)
        trip.pnl = EXACT.add(trip.pnl, leg.pnl)
        if start and start * end <= 0:
            ending = _share(leg.fee, abs(start), abs(leg.size))
            trip.fee = EXACT.add(trip.fee, ending)
            self.sums.complete(trip)
            trip = Trip(whole=True, fee=EXACT.subtract(leg.fee, ending)) if end else None
        else:
            trip.fee = EXACT.add(trip.fee, leg.fee)
        holding.position, holding.trip = end, trip

    def _forget_one(self) -> None:
        symbol = next(
            (name for name, one in self.holdings.items() if not one.waiting and one.trip is None),
            next(iter(self.holdings)),
        )
        holding = self.holdings.pop(symbol)
        if holding.waiting:
            self._settle(holding)
        self._floor_ms = max(self._floor_ms, holding.upto_ms)


def _fits(waiting: list[Leg], leg: Leg) -> bool:
    """Whether a fill has its place behind or among those that wait, and is not one of them."""
    if leg.time_ms > waiting[0].time_ms:
        return True
    return len(waiting) < WAITING_MAX and all(one.id != leg.id for one in waiting)


def _share(fee: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """The part of a fee that belongs to so much of a fill."""
    if part == whole or not fee:
        return fee
    share = _ROUNDING.divide(_ROUNDING.multiply(fee, part), whole)
    return share.quantize(_SMALLEST, context=_ROUNDING)
