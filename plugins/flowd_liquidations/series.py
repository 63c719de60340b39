"""One symbol's buckets over a range: read from the table, zeros filled in, outages left out."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal

from flowd.market import Bucket
from flowd.plugin import BadRequest, Outage
from flowd_liquidations.timeframe import DAY_MS, STANDARD, Timeframe, key, parse

Get = Callable[[str], Bucket | None]
Gap = tuple[int, int]


def frame_of(name: str, offered: Sequence[str] = ()) -> Timeframe:
    """The timeframe that a client asked for; BadRequest that lists those which are `offered`.

    Where nobody says what is offered, whatever is a timeframe will do.
    """
    if not offered or name in offered:
        with suppress(ValueError):
            return parse(name)
    there = offered or STANDARD
    raise BadRequest(
        f"there is no timeframe {name!r:.20}; there are {', '.join(there)}",
        parameter="timeframe",
        value=name,
        allowed=there,
        code="BAD_TIMEFRAME",
    )


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
        days = frame.keep_ms // DAY_MS
        raise BadRequest(
            f"{frame.name} is kept and served for {days} {'day' if days == 1 else 'days'} at most",
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


def gaps_of(
    outages: Iterable[Outage],
    component: str,
    start_ms: int,
    end_ms: int,
    now_ms: int,
    elsewhere: Iterable[Gap] = (),
) -> list[Gap]:
    """When nobody delivered, as far as that overlaps the range: neither the source, nor `elsewhere`
    where the buckets were filled from. An outage that is open lasts until now; one of which all
    came later is none.
    """
    until_ms = min(end_ms, now_ms)
    own = [
        (outage.from_ms, until_ms if outage.to_ms is None else outage.to_ms)
        for outage in outages
        if outage.component == component and outage.recovered is None
    ]
    found = [(first, last) for first, last in (*own, *elsewhere) if first <= last]
    return merged((first, last) for first, last in found if first <= end_ms and last >= start_ms)


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """The same times, each told once: ascending, and apart from each other."""
    found: list[Gap] = []
    for first, last in sorted(gaps):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
