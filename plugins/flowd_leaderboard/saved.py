"""An account's trips as a short text, and back: what is kept of each account in the state."""

from decimal import Decimal
from typing import Any

from attrs import frozen

from flowd.plugin import codec
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.trips import Holding, Sums, Trip, Trips


@frozen
class SavedTrips:
    """One account's trips, `state` as `written` has it. `asked_ms` is when its past fills were
    asked for, None when they never were.
    """

    address: str
    asked_ms: int | None
    state: str


def written(trips: Trips) -> str:
    """Trips as JSON of lists, since names would be most of it."""
    sums = [getattr(trips.sums, name) for name in Sums.__slots__]
    plain = [trips.floor_ms, [_text(value) for value in sums]]
    return codec.encode([*plain, [_holding(*item) for item in trips.holdings.items()]]).decode()


def read(text: str) -> Trips:
    """The trips that were written; ValueError for what is none."""
    try:
        floor_ms, numbers, holdings = codec.decode(text)
        sums = Sums()
        for name, value in zip(Sums.__slots__, numbers, strict=True):
            setattr(sums, name, Decimal(value) if isinstance(value, str) else value)
        return Trips(sums, dict(_read_holding(*one) for one in holdings), floor_ms)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"no trips: {error!r:.80}") from None


def _holding(symbol: str, holding: Holding) -> list[Any]:
    trip = holding.trip
    return [
        symbol,
        holding.upto_ms,
        None if holding.position is None else _text(holding.position),
        None if trip is None else [trip.whole, _text(trip.pnl), _text(trip.fee)],
        [[_text(value) for value in leg] for leg in holding.waiting],
    ]


def _read_holding(
    symbol: str,
    upto_ms: int,
    position: str | None,
    trip: list[Any] | None,
    waiting: list[list[Any]],
) -> tuple[str, Holding]:
    known = None if trip is None else Trip(trip[0], Decimal(trip[1]), Decimal(trip[2]))
    legs = [Leg(time_ms, id, *map(Decimal, numbers)) for time_ms, id, *numbers in waiting]
    place = None if position is None else Decimal(position)
    return symbol, Holding(upto_ms, place, known, legs)


def _text(value: Any) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value
