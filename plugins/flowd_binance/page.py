"""A sink: candles for charts, `GET /api/v1/candles/{symbol}/{interval}`, and which there are,
`GET /api/v1/candles`. An interval that no stream has is built of the widest narrower one.

Live candles are followed over the WebSocket, by the stream's name.
"""

from functools import lru_cache
from typing import Any

import trio
from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.market import Candle
from flowd.plugin import BadRequest, Desk, Index, StreamName, Streams, codec
from flowd_binance.demand import Demand
from flowd_binance.parse import INTERVALS, WIDEST_MS, least_ms
from flowd_binance.wider import Builder, fits, following, start, widest

LIMIT = 500
LIMIT_MAX = 1500
AT_ONCE = 100
"""Candles that are written before others are let run."""
PARTS_AT_ONCE = 500
PARTS_MAX = 50_000
"""Narrower candles of which the wider ones of one answer are built; what is older is left out."""


def _inputs(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("inputs = []: name at least one stream of candles")


@frozen
class Config:
    """`inputs` are streams of candles, one for each interval that is kept."""

    inputs: list[StreamName] = field(validator=_inputs)
    path: str = "/api/v1/candles/{symbol}/{interval}"

    def __attrs_post_init__(self) -> None:
        if not all(name in self.path for name in ("{symbol}", "{interval}")):
            raise ValueError(f'path = "{self.path}": must hold {{symbol}} and {{interval}}')

    @property
    def index_path(self) -> str:
        """Where is told which candles there are: what stands before the names."""
        return self.path.partition("{")[0].rstrip("/") or "/candles"


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

    demand = Demand(config.inputs, streams)

    @blueprint.get(config.path.replace("{", "<").replace("}", ">"))
    async def candles(symbol: str, interval: str) -> Response:
        """The candles of one symbol and interval."""
        for index in indices:
            await index.update()
        name = symbol.upper() if symbol.islower() else symbol
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
        stored, asked = _stored(indices, name, interval), None
        if stored is not None:
            index, narrow = stored
        elif (offer := demand.offer(name, interval)) is not None:
            index, narrow = offer[0].candles, offer[1]
            asked = await demand.fetch(offer[0], name, desk.now_ms())
        else:
            raise _unknown(indices, name, interval)
        if narrow == interval:
            plain = candles_of(index, name, interval, start_ms, to_ms, limit or LIMIT)
            bars = [(candle, b"") for candle in plain]
        else:
            bars = await _wide(index, (name, narrow), interval, start_ms, to_ms, limit or LIMIT)
        from_ms = start_ms if start_ms is not None else bars[0][0].time_ms if bars else to_ms
        told: list[bytes] = []
        for first in range(0, len(bars), AT_ONCE):
            told += [
                bar_json(one)[:-1] + more + b"}" for one, more in bars[first : first + AT_ONCE]
            ]
            await trio.lowlevel.checkpoint()
        body = (
            b'{"symbol":%b,"interval":%b,"data":[%b],"start_time":%d,"end_time":%d,'
            b'"built_from":%b,"on_demand":%b}'
            % (
                codec.encode(name),
                codec.encode(interval),
                b",".join(told),
                from_ms,
                to_ms,
                codec.encode(None if narrow == interval else narrow),
                codec.encode(asked and {"until_ms": asked.until_ms, "failing": asked.why}),
            )
        )
        return Response(body, content_type="application/json")

    @blueprint.get(config.index_path)
    async def there() -> Response:
        """Which candles there are: of which intervals, stored or built, and of which symbols.
        `?symbol=` asks why there will be none of it on demand either.
        """
        for name, index in zip(config.inputs, indices, strict=True):
            streams[name]  # Which checks that whoever asks may read it.
            await index.update()
        symbol = request.args.get("symbol")
        more = {} if symbol is None else {"unlisted": demand.unlisted(symbol)}
        body = codec.encode(_offered(config, indices, demand, more))
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


async def _wide(
    index: Candles,
    group: tuple[str, str],
    interval: str,
    start_ms: int | None,
    to_ms: int,
    limit: int,
) -> list[tuple[Candle, bytes]]:
    """Candles that are built of the narrower ones of a group, as `candles_of` says; each with what
    is added to its JSON.
    """
    high_ms = following(interval, start(interval, to_ms)) - 1
    longest_ms = WIDEST_MS if interval == "1M" else least_ms(interval)
    most = min(PARTS_MAX, (limit + 1) * longest_ms // least_ms(group[1]))
    if start_ms is None:
        found = index.find(group, high=high_ms, most=most, backward=True)[::-1]
    else:
        low_ms = start(interval, start_ms)
        low_ms = low_ms if low_ms == start_ms else following(interval, low_ms)
        found = index.find(group, low_ms, high_ms, most=most)
    builder = Builder(interval)
    for number, record in enumerate(found, 1):
        builder.add(record.value)
        if number % PARTS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    wide = builder.finish()
    if len(found) == most:  # Of the one at the far end there may be more.
        wide = wide[1:] if start_ms is None else wide[:-1]
    wide = wide[-limit:] if start_ms is None else wide[:limit]
    return [(one.candle, b"" if one.whole else b',"incomplete":true') for one in wide]


def _offered(
    config: Config, indices: list[Candles], demand: Demand, more: dict[str, str | None]
) -> dict[str, object]:
    """What there is, by interval, the narrowest first; and what comes when it is asked for."""
    stored: dict[tuple[str, str], str] = {}
    for name, index in zip(config.inputs, indices, strict=True):
        for group in index.groups():
            stored.setdefault(group, name)
    by_symbol: dict[str, list[str]] = {}
    for symbol, width in sorted(stored):
        by_symbol.setdefault(symbol, []).append(width)
    intervals = []
    for interval in INTERVALS:
        there = [symbol for symbol, widths in by_symbol.items() if interval in widths]
        wider = [
            symbol
            for symbol, widths in by_symbol.items()
            if interval not in widths and widest(widths, interval) is not None
        ]
        if there or wider:
            streams = sorted({stored[symbol, interval] for symbol in there})
            told = {"interval": interval, "streams": streams, "stored": there, "built": wider}
            intervals.append(told)
    return {
        "symbols": list(by_symbol),
        "intervals": intervals,
        "on_demand": {"intervals": demand.intervals(), "symbols": demand.symbols(), **more},
    }


def _stored(indices: list[Candles], symbol: str, interval: str) -> tuple[Candles, str] | None:
    """The stream that holds these candles, or the widest that they can be built of, and its
    interval; None where there is none.
    """
    for index in indices:
        if index.find((symbol, interval), most=1, backward=True):
            return index, interval
    groups = {group: index for index in indices for group in index.groups()}
    if interval in INTERVALS:
        narrow = widest([width for name, width in groups if name == symbol], interval)
        if narrow is not None:
            return groups[symbol, narrow], narrow
    return None


def _unknown(indices: list[Candles], symbol: str, interval: str) -> BadRequest:
    """Says which there are instead."""
    groups = [group for index in indices for group in index.groups()]
    known = {width for _, width in groups}
    served = [name for name in INTERVALS if name in known or widest(known, name) is not None]
    if interval not in served:
        return BadRequest(
            f"there are no candles of {interval!r:.20}",
            parameter="interval",
            value=interval,
            allowed=served,
            code="UNKNOWN_INTERVAL",
        )
    symbols = {name for name, width in groups if width == interval or fits(width, interval)}
    return BadRequest(
        f"there are no {interval} candles of {symbol!r:.60}",
        parameter="symbol",
        value=symbol,
        allowed=sorted(symbols)[:200],
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
