"""A sink: candles for charts, `GET /api/v1/candles/{symbol}/{interval}`.

Live candles are followed over the WebSocket, by the stream's name.
"""

from functools import lru_cache
from typing import Any

import trio
from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.market import Candle
from flowd.plugin import BadRequest, Desk, Index, StreamName, Streams, codec
from flowd_binance.parse import INTERVALS

LIMIT = 500
LIMIT_MAX = 1500
AT_ONCE = 100
"""Candles that are written before others are let run."""


def _inputs(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("inputs = []: name at least one stream of candles")


@frozen
class Config:
    """`inputs` are streams of candles, one for each interval that is served."""

    inputs: list[StreamName] = field(validator=_inputs)
    path: str = "/api/v1/candles/{symbol}/{interval}"

    def __attrs_post_init__(self) -> None:
        if not all(name in self.path for name in ("{symbol}", "{interval}")):
            raise ValueError(f'path = "{self.path}": must hold {{symbol}} and {{interval}}')


Candles = Index[Candle, tuple[str, str]]
"""By symbol and interval, and by when they open."""


def candles_of(
    index: Candles, symbol: str, interval: str, start_ms: int | None, end_ms: int, limit: int
) -> list[Candle]:
    """The candles that begin in the range, oldest first: the first ones from `start_ms` on, or
    without it the newest.
    """
    group = symbol, interval
    if start_ms is None:
        found = index.find(group, high=end_ms, most=limit, backward=True)[::-1]
    else:
        found = index.find(group, start_ms, end_ms, most=limit)
    return [record.value for record in found]


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """`?start=&end=&limit=`: milliseconds since 1970, and how many at most."""
    blueprint = Blueprint(f"candles {' '.join(config.inputs)}".replace(".", "-"), __name__)
    indices: list[Candles] = [
        Index(
            streams[name],
            lambda candle: (candle.symbol, candle.interval),
            lambda candle: candle.time_ms,
        )
        for name in config.inputs
    ]

    @blueprint.get(config.path.replace("{", "<").replace("}", ">"))
    async def candles(symbol: str, interval: str) -> Response:
        """The candles of one symbol and interval."""
        for index in indices:
            await index.update()
        name = symbol.upper() if symbol.islower() else symbol
        index = _index(indices, name, interval)
        query = dict(request.args.items())
        limit = _number(query, "limit", f"1 to {LIMIT_MAX}", least=1, most=LIMIT_MAX)
        start_ms = _number(query, "start", "milliseconds since 1970, UTC")
        end_ms = _number(query, "end", "milliseconds since 1970, UTC")
        if query:
            raise _refused(next(iter(query)), query, ["start", "end", "limit"], "no such parameter")
        to_ms = desk.now_ms() if end_ms is None else end_ms
        if start_ms is not None and start_ms >= to_ms:
            raise BadRequest(
                "start must lie before end",
                parameter="start",
                value=start_ms,
                allowed=f"below {to_ms}",
            )
        found = candles_of(index, name, interval, start_ms, to_ms, limit or LIMIT)
        from_ms = start_ms if start_ms is not None else found[0].time_ms if found else to_ms
        bars: list[bytes] = []
        for first in range(0, len(found), AT_ONCE):
            bars += map(bar_json, found[first : first + AT_ONCE])
            await trio.lowlevel.checkpoint()
        body = b'{"symbol":%b,"interval":%b,"data":[%b],"start_time":%d,"end_time":%d}' % (
            codec.encode(name),
            codec.encode(interval),
            b",".join(bars),
            from_ms,
            to_ms,
        )
        return Response(body, content_type="application/json")

    return blueprint


def bar(candle: Candle) -> dict[str, object]:
    """A candle as charts want it: the time in seconds, decimals as strings."""
    return {
        "time": candle.time_ms // 1000,
        "timestamp_ms": candle.time_ms,
        **{
            name: codec.plain(getattr(candle, name))
            for name in ("open", "high", "low", "close", "volume", "quote_volume")
        },
        "trades": candle.trades,
        "closed": candle.closed,
    }


@lru_cache(maxsize=20_000)
def bar_json(candle: Candle) -> bytes:
    """A candle's JSON, made once for all who ask."""
    return codec.encode(bar(candle))


def _index(indices: list[Candles], symbol: str, interval: str) -> Candles:
    """The stream that holds these candles; BadRequest that says which there are."""
    for index in indices:
        if index.find((symbol, interval), most=1, backward=True):
            return index
    there = {group for index in indices for group in index.groups()}
    symbols = sorted(name for name, width in there if width == interval)
    if not symbols:
        known = {width for _, width in there}
        raise BadRequest(
            f"there are no candles of {interval!r:.20}",
            parameter="interval",
            value=interval,
            allowed=[name for name in INTERVALS if name in known],
            code="UNKNOWN_INTERVAL",
        )
    raise BadRequest(
        f"there are no {interval} candles of {symbol!r:.60}",
        parameter="symbol",
        value=symbol,
        allowed=symbols[:200],
        code="UNKNOWN_SYMBOL",
    )


def _number(
    query: dict[str, str], name: str, allowed: str, least: int = 0, most: int = 10**14
) -> int | None:
    """A whole number of the query, which is taken out of it; None when it is not there."""
    if name not in query:
        return None
    text = query[name]
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise _refused(name, query, allowed, f"{name} must be a whole number")
    if not least <= int(text) <= most:
        raise _refused(name, query, allowed, f"{name} is out of range")
    del query[name]
    return int(text)


def _refused(
    name: str, query: dict[str, str], allowed: list[str] | str, message: str
) -> BadRequest:
    return BadRequest(message, parameter=name, value=query[name], allowed=allowed)
