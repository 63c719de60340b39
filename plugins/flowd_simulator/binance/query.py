"""Reading the query of a REST call, with the exchange's complaints about bad ones."""

from collections.abc import Collection, Mapping

from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import following, opening
from flowd_simulator.market import LISTED_MS

Query = Mapping[str, str]


class BadRequest(Exception):
    """A request which the exchange answers with HTTP 400."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def number(query: Query, name: str, default: int, *, least: int = 0, most: int = 2**63) -> int:
    """A whole number from the query. Too large or too small is as bad as no number."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise BadRequest(-1130, f"Data sent for parameter '{name}' is not valid.")


def one_of(query: Query, name: str, known: Collection[str], complaint: BadRequest) -> str:
    """A word from the query, which must be one of the known."""
    value = query.get(name)
    if value is None or value not in known:
        raise complaint
    return value


def traded(query: Query, instruments: Mapping[str, Instrument]) -> Instrument:
    """The instrument which the query asks about."""
    symbol = query.get("symbol")
    if not symbol:
        raise BadRequest(
            -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
        )
    if symbol not in instruments:
        raise BadRequest(-1121, "Invalid symbol.")
    return instruments[symbol]


def openings(query: Query, interval: str, now_ms: int, limit: int) -> list[int]:
    """The openings of the candles asked for, oldest first: from `startTime` on if that is given,
    else the last ones up to `endTime` or now."""
    start_ms = number(query, "startTime", 0)
    end_ms = min(now_ms, number(query, "endTime", now_ms))
    if "startTime" not in query:
        return _up_to(interval, opening(interval, end_ms), limit)
    if "endTime" in query and start_ms > number(query, "endTime", 0):
        raise BadRequest(-1023, "Start time is greater than end time.")
    return _from(interval, start_ms, end_ms, limit)


def _up_to(interval: str, last_ms: int, limit: int) -> list[int]:
    found: list[int] = []
    while len(found) < limit and last_ms >= LISTED_MS:
        found.append(last_ms)
        last_ms = opening(interval, last_ms - 1)
    return found[::-1]


def _from(interval: str, start_ms: int, end_ms: int, limit: int) -> list[int]:
    start_ms = max(start_ms, LISTED_MS)
    opening_ms = opening(interval, start_ms)
    if opening_ms < start_ms:
        opening_ms = following(interval, opening_ms)
    found: list[int] = []
    while opening_ms <= end_ms and len(found) < limit:
        found.append(opening_ms)
        opening_ms = following(interval, opening_ms)
    return found
