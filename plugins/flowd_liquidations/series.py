"""One symbol's buckets over a range: read from the table, zeros filled in, outages left out."""

from collections.abc import Callable
from decimal import Decimal

from flowd.market import Bucket
from flowd.plugin import BadRequest, Outage
from flowd_liquidations.timeframe import DAY_MS, STANDARD, Timeframe, key, parse

Get = Callable[[str], Bucket | None]
Gap = tuple[int, int]


def frame_of(name: str) -> Timeframe:
    """The timeframe that a client asked for; BadRequest that lists them."""
    try:
        return parse(name)
    except ValueError as error:
        raise BadRequest(
            str(error), parameter="timeframe", value=name, allowed=STANDARD, code="BAD_TIMEFRAME"
        ) from None


def span(
    frame: Timeframe, start: str | None, end: str | None, now_ms: int, default_ms: int = DAY_MS
) -> tuple[int, int]:
    """The range in milliseconds that a client asked for; by default the last day up to now."""
    end_ms = now_ms if end is None else _ms("end", end)
    start_ms = end_ms - default_ms if start is None else _ms("start", start)
    if start_ms >= end_ms:
        raise BadRequest(
            "start must lie before end",
            parameter="start",
            value=start_ms,
            allowed=f"below {end_ms}",
        )
    if end_ms - start_ms > frame.keep_ms:
        raise BadRequest(
            f"{frame.name} is kept and served for {frame.keep_ms // DAY_MS} days at most",
            parameter="start",
            value=start_ms,
            allowed=f"{end_ms - frame.keep_ms} to {end_ms - 1}",
        )
    return start_ms, end_ms


def _ms(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 14:
        raise BadRequest(
            f"{name} must be a time in milliseconds",
            parameter=name,
            value=text,
            allowed="milliseconds since 1970, UTC",
        )
    return int(text)


def buckets(
    get: Get, symbol: str, frame: Timeframe, start_ms: int, end_ms: int, gaps: list[Gap]
) -> list[Bucket]:
    """The bars from `start_ms`' to `end_ms`, zeros between the first and the last that are not
    empty.

    A bucket that lies wholly in a gap is left out: nobody knows that it was empty.
    """
    found: list[Bucket] = []
    empty: list[Bucket] = []
    at_ms = frame.start(start_ms)
    while at_ms <= end_ms:
        after_ms = frame.following(at_ms)
        bucket = get(key(symbol, frame.name, at_ms))
        if bucket is not None:
            found += empty
            found.append(bucket)
            empty.clear()
        elif found and not any(first <= at_ms and after_ms <= last for first, last in gaps):
            empty.append(Bucket(symbol, frame.name, at_ms, Decimal(0), Decimal(0), 0))
        at_ms = after_ms
    return found


def gaps_of(outages: list[Outage], component: str, start_ms: int, end_ms: int) -> list[Gap]:
    """When the source delivered nothing, as far as that overlaps the range; open ones last until
    its end.
    """
    found = [
        (outage.from_ms, end_ms if outage.to_ms is None else outage.to_ms)
        for outage in outages
        if outage.component == component
    ]
    return sorted((first, last) for first, last in found if first <= end_ms and last >= start_ms)
