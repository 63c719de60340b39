"""A flowd sink: liquidation maps as they change, `/ws/heatmap`, and as they are, for who polls.

Source: domain/heatmap.md, section 7. Each symbol and pace is one channel: whoever wants the same,
shares its messages.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any
from zlib import crc32

from attrs import field, frozen

from flowd.market import LiquidationMap
from flowd.plugin import (
    Audience,
    BadRequest,
    Batch,
    Hot,
    Live,
    Session,
    StreamName,
    Streams,
    Tail,
    codec,
)
from flowd_heatmap import shapes
from flowd_heatmap.records import Column, MapModel, Score

ACTIONS = ("subscribe", "unsubscribe", "ping")
SYMBOLS_AT_ONCE = 10
INTERVAL_S, INTERVAL_MAX_S = 5, 60
SOURCES = ("estimated", "observed")
PARAMETERS = ("symbols", "source", "update_interval", "after")


def _path(_: object, attribute: Any, path: str) -> None:
    if not path.startswith("/") or "{" in path:
        raise ValueError(f'path = "{path}": expected a fixed path such as "/ws/heatmap"')


@frozen
class Config:
    """`input` is the stream of estimated maps, `observed` that of observed ones, if there is one,
    `columns` the past of the former, `score` how well they knew, `model` what they are made with.
    Clients stay at `path`.
    """

    input: StreamName = field(default=StreamName("heatmap"), metadata={"reads": LiquidationMap})
    observed: StreamName = field(
        default=StreamName("positions.map"), metadata={"reads": LiquidationMap, "optional": True}
    )
    columns: StreamName = field(default=StreamName("heatmap.columns"), metadata={"reads": Column})
    score: StreamName = field(
        default=StreamName("heatmap.score"), metadata={"reads": Score, "optional": True}
    )
    model: StreamName = field(
        default=StreamName("heatmap.model"), metadata={"reads": MapModel, "optional": True}
    )
    path: str = field(default="/ws/heatmap", validator=_path)

    def __attrs_post_init__(self) -> None:
        # Pictures need numpy: loaded before the loop turns, and only where they are configured.
        import_module("flowd_heatmap.timeseries")


Paces = Callable[[int], shapes.Snapshots]
"""What words the messages of all who are told so often, in seconds; there are sixty at most."""


def live(config: Config) -> Live:
    """`/ws/heatmap`: who comes says what to follow, in messages or in the address."""
    paces = cache(lambda interval_s: shapes.Snapshots())

    def open(session: Session) -> None:
        wanted = dict(session.query)
        symbols = [name for name in wanted.pop("symbols", "").split(",") if name]
        after, interval = wanted.pop("after", None), wanted.pop("update_interval", INTERVAL_S)
        source = _source(wanted.pop("source", None))
        for name, value in wanted.items():
            raise _refused(f"no parameter is called {name!r:.60}", name, value, PARAMETERS)
        if symbols:
            places = dict.fromkeys(symbols, after)
            subscribe(config, session, paces, symbols, interval, places, source)

    def receive(session: Session, text: str) -> None:
        act(config, session, paces, text)

    return Live(
        config.path,
        paces(INTERVAL_S),
        websocket=True,
        open=open,
        receive=receive,
        warn=shapes.slow,
        error=shapes.error,
        audience=Audience("symbol"),
    )


def act(config: Config, session: Session, paces: Paces, text: str) -> None:
    """One message of a client. BadRequest names its mistake and keeps the connection."""
    try:
        said = codec.decode(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise _refused(
            "a message is a JSON object",
            "message",
            text[:200],
            '{"action": "subscribe", "symbols": ["BTCUSDT"]}',
        )
    action = said.get("action")
    if action == "ping":
        session.say(shapes.pong(session.now_ms()))
    elif action == "subscribe":
        after = said.get("after") or {}
        if not isinstance(after, dict):
            raise _refused("after is an object", "after", after, '{"BTCUSDT": position}')
        interval = said.get("update_interval", INTERVAL_S)
        source = _source(said.get("source"))
        subscribe(config, session, paces, _symbols(said), interval, after, source)
    elif action == "unsubscribe":
        unsubscribe(session, _symbols(said))
    else:
        raise _refused(
            f"there is no action {action!r:.60}", "action", action, ACTIONS, "INVALID_ACTION"
        )


def subscribe(
    config: Config,
    session: Session,
    paces: Paces,
    symbols: list[str],
    interval: object,
    after: Mapping[str, object],
    source: str | None,
) -> None:
    """Follow these symbols, also where others are no symbols, which is told. A symbol is followed
    in one source: where another one is asked for, that takes its place.
    """
    every_s = _interval(interval)
    unknown = []
    wishes = []
    for symbol in symbols:
        stream = _stream_of(config, session, symbol, source)
        if stream is None:
            unknown.append(symbol)
            continue
        wish = session.wish(
            stream,
            filter={"symbol": [symbol]},
            after=after.get(symbol),
            encode=paces(every_s),
            every_s=float(every_s),
            name=symbol,
        )
        wishes.append(wish)
    session.check_room(wish.name or "" for wish in wishes)
    for wish in wishes:
        session.follow(wish)
    if unknown:
        raise _unknown(unknown, _known(config, session, source), source)


def unsubscribe(session: Session, symbols: list[str]) -> None:
    """Follow these no more; those that were not followed are told."""
    follows = set(session.follows)
    for symbol in symbols:
        if symbol in follows:
            session.unfollow(symbol)
    unknown = [symbol for symbol in symbols if symbol not in follows]
    if unknown:
        raise _unknown(unknown, sorted(follows))


def _streams(config: Config, session: Session, source: str | None) -> list[str]:
    """The streams with maps of this source; without one all of them, the estimated ones first."""
    named = dict(zip(SOURCES, (config.input, config.observed), strict=True))
    wanted = named.values() if source is None else [named[source]]
    return [name for name in wanted if name in session.streams]


def _stream_of(config: Config, session: Session, symbol: str, source: str | None) -> str | None:
    """The stream with this symbol's map."""
    for name in _streams(config, session, source):
        if session.get(name)(symbol) is not None:
            return name
    return None


def _known(config: Config, session: Session, source: str | None) -> list[str]:
    streams = _streams(config, session, source)
    return sorted({told.symbol for name in streams for told in session.values(name)})


def _source(given: object) -> str | None:
    """Which maps are meant; None where nobody said, which is the estimated one if there is one."""
    if given is not None and given not in SOURCES:
        raise _refused(f"there is no source {given!r:.40}", "source", given, SOURCES)
    return given


def _symbols(said: Mapping[str, Any]) -> list[str]:
    symbols = said.get("symbols")
    if (
        not isinstance(symbols, list)
        or not 1 <= len(symbols) <= SYMBOLS_AT_ONCE
        or not all(isinstance(symbol, str) and symbol for symbol in symbols)
    ):
        allowed = f"a list of 1 to {SYMBOLS_AT_ONCE} symbols"
        raise _refused("symbols is a list of symbols", "symbols", symbols, allowed)
    return list(dict.fromkeys(symbols))


def _interval(given: object) -> int:
    """How often to tell, in seconds: what is too little or too much is brought within bounds."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise _refused(
            "update_interval is a number of seconds",
            "update_interval",
            given,
            f"1 to {INTERVAL_MAX_S}",
        )
    return int(min(max(given, 1), INTERVAL_MAX_S))


def _unknown(symbols: list[str], known: list[str], source: str | None = None) -> BadRequest:
    kind = f"{source} map" if source else "map"
    return BadRequest(
        f"there is no {kind} of {', '.join(symbols):.200}",
        parameter="symbols",
        value=symbols,
        allowed=known,
        code="INVALID_SYMBOL",
    )


def _refused(
    message: str,
    parameter: str,
    value: object,
    allowed: str | tuple[str, ...],
    code: str = "INVALID_MESSAGE",
) -> BadRequest:
    return BadRequest(message, parameter=parameter, value=value, allowed=allowed, code=code)


# -- who polls --


def hot(config: Config) -> list[Hot]:
    """`GET /api/v1/heatmap`, which maps there are, and `/api/v1/heatmap/{symbol}?source=`."""

    def beside(streams: Streams, now_ms: int) -> Tail:
        def values(name: StreamName) -> list[Any]:
            records = streams[name].read(0, first=True).records if name in streams else ()
            return [record.value for record in records]

        body = b'"observed":%b,"model":%b,"score":%b}\n' % (
            codec.encode([shapes.brief(told) for told in values(config.observed)]),
            codec.encode({told.symbol: shapes.model(told) for told in values(config.model)}),
            codec.encode({told.symbol: shapes.score(told) for told in values(config.score)}),
        )
        return Tail(body, f"{crc32(body):08x}")

    def other(query: Mapping[str, str], streams: Streams, now_ms: int) -> Tail | None:
        return _other(config, query, streams)

    return [
        Hot("/api/v1/heatmap", _index, stream=config.input, tail=beside),
        Hot("/api/v1/heatmap/{symbol}", _newest, stream=config.input, instead=other),
    ]


def _index(batch: Batch[LiquidationMap]) -> bytes:
    maps = [shapes.brief(record.value) for record in batch.records]
    return b'{"estimated":%b,' % codec.encode(maps)


def _newest(batch: Batch[LiquidationMap]) -> bytes:
    """The map of the one symbol that is asked for."""
    record = batch.records[-1]
    position = f"{batch.position.epoch}.{record.seq}"
    return codec.encode(shapes.snapshot(record.value, position)) + b"\n"


def _other(config: Config, query: Mapping[str, str], streams: Streams) -> Tail | None:
    """An observed map, where one is asked for or there is no other. BadRequest for what there is
    not. None for an estimated one, which the door has ready.
    """
    symbol, source = query["symbol"], _source(query.get("source"))
    for name, value in query.items():
        if name not in ("symbol", "source"):
            raise _refused(f"no parameter is called {name!r:.60}", name, value, ("source",))
    if source != "observed" and streams[config.input].get(symbol) is not None:
        return None
    told: LiquidationMap | None = None
    if source != "estimated" and config.observed in streams:
        told = streams[config.observed].get(symbol)
    if told is None:
        names = [name for name in (config.input, config.observed) if name in streams]
        records = [record for name in names for record in streams[name].read(0).records]
        raise BadRequest(
            f"there is no such map of {symbol!r:.60}",
            parameter="symbol",
            value=symbol,
            allowed=sorted({record.value.symbol for record in records}),
            code="INVALID_SYMBOL",
            status=404,
        )
    body = codec.encode(shapes.snapshot(told)) + b"\n"
    return Tail(body, f"{crc32(body):08x}{len(body):x}")
