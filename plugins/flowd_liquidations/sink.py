"""A sink: liquidation orders and volume in the documented messages, over WebSocket and REST."""

from attrs import Factory, frozen
from quart import Blueprint, Response, request

from flowd.plugin import BadRequest, Live, Session, Streams, codec
from flowd_liquidations import shapes
from flowd_liquidations.series import buckets, frame_of, gaps_of, span

OUTAGES = "outages"
CLOSE_POLICY = 1008


@frozen
class Config:
    """`orders` is a stream of liquidations, `volume` the buckets made of it.

    `precisions` are symbols' numbers of decimals of a quantity, for how it is shown.
    """

    orders: str
    volume: str
    path: str = "/api/v1/ws/liquidations/{symbol}"
    rest_path: str = "/api/v1/liquidation-volume/{symbol}/{timeframe}"
    precisions: dict[str, int] = Factory(dict)


def symbol_of(text: str) -> str:
    """A symbol as exchanges write it; BadRequest when it cannot be one.

    Small letters are a shorthand for capital ones, unless both are used, as in kPEPE.
    """
    symbol = text.upper() if text.islower() else text
    if not 1 <= len(symbol) <= 40 or not all(c.isalnum() or c in "_-:@#" for c in symbol):
        raise BadRequest(
            f"there is no symbol {text!r:.60}",
            parameter="symbol",
            value=text,
            allowed="a symbol such as BTCUSDT",
            code="UNKNOWN_SYMBOL",
        )
    return symbol


def live(config: Config) -> Live:
    """`/api/v1/ws/liquidations/{symbol}`: orders, and with `?timeframe=` volume too."""

    def open(session: Session) -> None:
        try:
            follow(config, session)
        except BadRequest as mistake:
            session.say(shapes.error(str(mistake), session.now_ms()))
            session.close(CLOSE_POLICY, mistake.code)

    def heartbeat(session: Session) -> bytes:
        return shapes.heartbeat(symbol_of(session.path["symbol"]), session.now_ms())

    return Live(
        config.path,
        lambda batch: [],
        websocket=True,
        open=open,
        heartbeat=heartbeat,
    )


def follow(config: Config, session: Session) -> None:
    """Send what there is, then follow what comes. BadRequest when the address is wrong."""
    symbol = symbol_of(session.path["symbol"])
    query = dict(session.query)
    timeframe = query.pop("timeframe", None)
    start, end = (_either(query, name) for name in ("start", "end"))
    if query:
        raise BadRequest(
            f"no parameter is called {next(iter(query))!r:.60}",
            parameter=next(iter(query)),
            value=next(iter(query.values())),
            allowed=["timeframe", "start", "end"],
        )
    orders = shapes.Orders(symbol, config.precisions.get(symbol), clock=session.now_ms)
    of_symbol = {"symbol": symbol}
    if "role" in session.filters(config.orders):
        of_symbol["role"] = "liquidated"  # Fills: each liquidation has another side.
    first = session.wish(config.orders, filter=of_symbol, limit=shapes.ORDERS_FIRST, encode=orders)
    if timeframe is None:
        session.follow(first)
        return
    frame = frame_of(timeframe)
    now_ms = session.now_ms()
    start_ms, end_ms = span(frame, start, end, now_ms, default_ms=frame.keep_ms)
    wanted = {"symbol": symbol, "timeframe": frame.name}
    get = session.get(config.volume)
    volumes = shapes.Volumes(
        symbol,
        frame.name,
        (frame.start(start_ms), frame.start(end_ms)),
        history=lambda: buckets(
            get,
            symbol,
            frame,
            start_ms,
            end_ms,
            gaps_of(session.values(OUTAGES), config.orders, start_ms, end_ms),
        ),
        clock=session.now_ms,
    )
    second = session.wish(config.volume, filter=wanted, limit=0, encode=volumes)
    session.follow(first)
    session.follow(second)


def _either(query: dict[str, str], name: str) -> str | None:
    """`start` or its longer name `start_time`; both from the documents."""
    long = query.pop(f"{name}_time", None)
    return query.pop(name, long)


def routes(config: Config, streams: Streams) -> Blueprint:
    """`GET /api/v1/liquidation-volume/{symbol}/{timeframe}?start=&end=`."""
    blueprint = Blueprint(f"liquidation-volume {config.volume}", __name__)
    rule = config.rest_path.replace("{", "<").replace("}", ">")

    @blueprint.get(rule)
    async def volume(symbol: str, timeframe: str) -> Response:
        """The liquidation volume of one symbol and timeframe."""
        name, frame = symbol_of(symbol), frame_of(timeframe)
        query = dict(request.args.items())
        start, end = (_either(query, parameter) for parameter in ("start", "end"))
        start_ms, end_ms = span(frame, start, end, streams.now_ms())
        outages = [record.value for record in streams[OUTAGES].read(0).records]
        gaps = gaps_of(outages, config.orders, start_ms, end_ms)
        found = buckets(streams[config.volume].get, name, frame, start_ms, end_ms, gaps)
        body = b'{"symbol":%b,"timeframe":%b,"data":%b,"start_time":%d,"end_time":%d,"gaps":%b}' % (
            codec.encode(name),
            codec.encode(frame.name),
            shapes.points_json(found),
            start_ms,
            end_ms,
            codec.encode(gaps),
        )
        return Response(body, content_type="application/json")

    return blueprint
