"""A sink: candles for charts, `GET /api/v1/candles/{symbol}/{interval}`.

Live candles are followed over the WebSocket, by the stream's name.
"""

from bisect import bisect_left, bisect_right, insort
from functools import lru_cache
from typing import Any

import trio
from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.market import Candle
from flowd.plugin import BadRequest, Desk, Input, StreamName, Streams, codec
from flowd_binance.parse import INTERVALS

LIMIT = 500
LIMIT_MAX = 1500
READ_MAX = 5000
"""Records taken into the index at once; between, others have their turn."""


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


class Index:
    """Where the candles of a stream lie, kept up to date by whoever asks."""

    def __init__(self, candles: Input[Candle]) -> None:
        self._candles = candles
        self._seq = 0
        self._times: dict[tuple[str, str], list[int]] = {}
        self._reading = trio.Lock()

    async def update(self) -> None:
        """Read what is new in the stream."""
        async with self._reading:
            while self._seq < self._candles.head.seq:
                batch = self._candles.read(self._seq, limit=READ_MAX)
                self._seq = batch.position.seq
                for record in batch.records:
                    self._note(record.value)
                await trio.lowlevel.checkpoint()

    def _note(self, candle: Candle) -> None:
        times = self._times.setdefault((candle.symbol, candle.interval), [])
        index = bisect_left(times, candle.time_ms)
        if index == len(times) or times[index] != candle.time_ms:
            insort(times, candle.time_ms)

    def symbols(self, interval: str) -> list[str]:
        """The symbols that there are candles of."""
        return sorted(symbol for symbol, width in self._times if width == interval)

    @property
    def intervals(self) -> set[str]:
        """The intervals that there are candles of."""
        return {interval for _, interval in self._times}

    def between(
        self, symbol: str, interval: str, start_ms: int | None, end_ms: int, limit: int
    ) -> list[Candle]:
        """The candles that begin in the range, oldest first: the first ones from `start_ms` on, or
        without it the newest.
        """
        times = self._times.get((symbol, interval), [])
        self._prune(symbol, interval, times)
        high = bisect_right(times, end_ms)
        if start_ms is None:
            chosen = times[max(0, high - limit) : high]
        else:
            low = bisect_left(times, start_ms)
            chosen = times[low : min(high, low + limit)]
        found = (self._candles.get(f"{symbol}/{interval}/{time_ms}") for time_ms in chosen)
        return [candle for candle in found if candle is not None]

    def _prune(self, symbol: str, interval: str, times: list[int]) -> None:
        """Let go of the oldest candles, as far as the stream forgot them."""
        gone = 0
        while gone < len(times):
            if self._candles.get(f"{symbol}/{interval}/{times[gone]}") is not None:
                break
            gone += 1
        del times[:gone]


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """`?start=&end=&limit=`: milliseconds since 1970, and how many at most."""
    blueprint = Blueprint(f"candles {' '.join(config.inputs)}".replace(".", "-"), __name__)
    indices = [Index(streams[name]) for name in config.inputs]

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
        found = index.between(name, interval, start_ms, to_ms, limit or LIMIT)
        from_ms = start_ms if start_ms is not None else found[0].time_ms if found else to_ms
        body = b'{"symbol":%b,"interval":%b,"data":[%b],"start_time":%d,"end_time":%d}' % (
            codec.encode(name),
            codec.encode(interval),
            b",".join([bar_json(candle) for candle in found]),
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


def _index(indices: list[Index], symbol: str, interval: str) -> Index:
    """The stream that holds these candles; BadRequest that says which there are."""
    there = [index for index in indices if interval in index.intervals]
    if interval not in INTERVALS or not there:
        known = {name for index in indices for name in index.intervals}
        raise BadRequest(
            f"there are no candles of {interval!r:.20}",
            parameter="interval",
            value=interval,
            allowed=[name for name in INTERVALS if name in known],
            code="UNKNOWN_INTERVAL",
        )
    for index in there:
        if symbol in index.symbols(interval):
            return index
    raise BadRequest(
        f"there are no {interval} candles of {symbol!r:.60}",
        parameter="symbol",
        value=symbol,
        allowed=sorted({name for index in there for name in index.symbols(interval)})[:200],
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
