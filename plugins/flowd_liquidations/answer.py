"""What another service answers about one series, bytes to bars: pure, and it believes nothing."""

from decimal import Decimal
from typing import Any, get_args

from attrs import frozen

from flowd.market import Coverage, PriceKind, VenueSum, number, totals_of, trimmed
from flowd.plugin import codec
from flowd_liquidations.parts import Venues, ordered
from flowd_liquidations.series import Gap
from flowd_liquidations.shapes import UNKNOWN
from flowd_liquidations.timeframe import Timeframe

TIME_MAX_MS = 10**14
VENUES_MAX, VENUE_CHARACTERS = 50, 40
"""More venues, or a longer name, makes no sense."""


@frozen
class Bar:
    """One bucket as the other service counted it; `venues` where it tells them."""

    time_ms: int
    buy: Decimal
    sell: Decimal
    count: int
    venues: Venues = ()


@frozen
class Answer:
    """A range of one series: its bars, when the other service had no data, and what makes no
    sense.
    """

    bars: list[Bar]
    gaps: list[Gap]
    bad: list[object]


def read(body: bytes, frame: Timeframe) -> Answer:
    """The answer that a body writes; ValueError when it is none."""
    answer = codec.decode(body)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise ValueError(f'expected {{"data": […]}}, got {answer!r:.60}')
    found = Answer([], [], [])
    for item in data:
        try:
            found.bars.append(_bar(item, frame))
        except ValueError:
            found.bad.append(item)
    gaps = answer.get("gaps", [])
    for item in gaps if isinstance(gaps, list) else [gaps]:
        if _is_gap(item):
            found.gaps.append((item[0], item[1]))
        else:
            found.bad.append(item)
    return found


def _bar(item: Any, frame: Timeframe) -> Bar:
    if not isinstance(item, dict):
        raise ValueError("expected an object")
    time_ms: Any = item.get("timestamp_ms")
    count: Any = item.get("count")
    if not _is_time(time_ms) or frame.start(time_ms) != time_ms:
        raise ValueError("expected the beginning of a span")
    if type(count) is not int or count < 0:
        raise ValueError("expected how many orders")
    buy, sell = _amount(item.get("buy_volume")), _amount(item.get("sell_volume"))
    venues = _venues(item.get("venues") or {})
    if venues and totals_of(venues) != (buy, sell, count):
        raise ValueError("the venues' sums are not the whole")
    return Bar(time_ms, buy, sell, count, venues)


def _venues(told: Any) -> Venues:
    if not isinstance(told, dict) or len(told) > VENUES_MAX:
        raise ValueError("expected venues by their names")
    parts = {name: _part(name, one) for name, one in told.items()}
    return ordered(parts)


def _part(name: Any, told: Any) -> VenueSum:
    if not isinstance(told, dict) or not isinstance(name, str) or len(name) > VENUE_CHARACTERS:
        raise ValueError("expected a venue's sums")
    count: Any = told.get("count")
    kind: Any = told.get("price_kind")
    coverage: Any = told.get("coverage")
    if type(count) is not int or count < 0:
        raise ValueError("expected how many orders")
    if kind not in get_args(PriceKind) or coverage not in get_args(Coverage):
        raise ValueError("expected what the venue's numbers are worth")
    venue = "" if name == UNKNOWN else name
    return VenueSum(
        venue, _amount(told.get("buy")), _amount(told.get("sell")), count, kind, coverage
    )


def _amount(text: object) -> Decimal:
    amount = trimmed(number(text))
    if amount < 0:
        raise ValueError(f"a volume is not negative, got {text!r}")
    return amount


def _is_gap(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and _is_time(item[0])
        and _is_time(item[1])
        and item[0] < item[1]
    )


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value < TIME_MAX_MS
