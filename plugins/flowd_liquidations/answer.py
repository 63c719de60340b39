"""What another service answers about one series, bytes to bars: pure, and it believes nothing."""

from decimal import Decimal
from typing import Any

from attrs import frozen

from flowd.market import number, trimmed
from flowd.plugin import codec
from flowd_liquidations.series import Gap
from flowd_liquidations.timeframe import Timeframe

TIME_MAX_MS = 10**14


@frozen
class Bar:
    """One bucket as the other service counted it."""

    time_ms: int
    buy: Decimal
    sell: Decimal
    count: int


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
    return Bar(time_ms, _amount(item.get("buy_volume")), _amount(item.get("sell_volume")), count)


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
