"""A sink: liquidation orders and volume in the documented messages, over WebSocket and REST."""

from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import Factory, field, frozen
from quart import Blueprint, Response, request

from flowd.history import database
from flowd.market import Bucket, Fill, Instrument, Liquidation
from flowd.plugin import (
    BadRequest,
    Clock,
    Desk,
    Live,
    Outage,
    Secret,
    Session,
    StreamName,
    Streams,
    Wish,
    codec,
)
from flowd_liquidations import shapes
from flowd_liquidations.backfill import Gaps
from flowd_liquidations.past import Past, Range
from flowd_liquidations.precisions import Precisions, Table
from flowd_liquidations.series import Gap, Get, buckets, frame_of, gaps_of, span
from flowd_liquidations.timeframe import STANDARD, Timeframe, Timeframes
from flowd_liquidations.windows import Windows

SYMBOLS, SYMBOLS_MAX = 100, 1000
"""Symbols whose windows are told by default, and at most."""
OUTAGES = "outages"
CLOSE_POLICY = 1008


@frozen
class Config:
    """`orders` is a stream of liquidations, or several; `volume` the buckets made of them.

    `precisions` are symbols' numbers of decimals of a quantity, for how it is shown; of others
    `instruments` tell them, tables of what exchanges list.

    `history` is the database in which a daemon keeps the streams `inputs`, of which `volume` is
    made (by default `orders`): REST ranges older than the buckets are added up there.
    """

    orders: StreamName | list[StreamName] = field(metadata={"reads": (Liquidation, Fill)})
    volume: StreamName = field(metadata={"reads": Bucket})
    path: str = "/api/v1/ws/liquidations/{symbol}"
    rest_path: str = "/api/v1/liquidation-volume/{symbol}/{timeframe}"
    windows_path: str = "/api/v1/liquidation-windows"
    precisions: dict[str, int] = Factory(dict)
    instruments: list[StreamName] = field(factory=list, metadata={"reads": Instrument})
    history: str | Secret | None = None
    inputs: list[StreamName] = field(factory=list, metadata={"reads": (Liquidation, Fill)})

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ValueError("orders = []: name at least one stream of liquidations")
        if isinstance(self.history, str):
            database(self.history).check(self.history)

    @property
    def names(self) -> list[str]:
        """The streams of orders, each once."""
        orders = self.orders if isinstance(self.orders, list) else [self.orders]
        return list(dict.fromkeys(orders))

    def past(self) -> Past | None:
        """Where older buckets are, if there are any. UserError when no plugin knows such a
        database.
        """
        address = self.history.reveal() if isinstance(self.history, Secret) else self.history
        return None if address is None else Past(address, self.inputs or self.names)


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


class View:
    """One series' bars, and which series there are: the same for REST and WebSocket.

    `names` are the streams there are, `get` finds values in one of them by key. Beside the buckets
    their transform keeps two tables; where something else makes the buckets, there are none.
    """

    def __init__(
        self,
        config: Config,
        names: Container[str],
        get: Callable[[str], Callable[[str], Any]],
        outages: Callable[[], list[Outage]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._names = names
        self._get = get
        self._outages = outages
        self._clock = clock

    @property
    def offered(self) -> list[str]:
        """The timeframes there are; none where nobody says so."""
        offer: Timeframes | None = self._beside("timeframes", "timeframes")
        return [] if offer is None else offer.timeframes

    def frame(self, name: str) -> Timeframe:
        """The timeframe that a client asked for; BadRequest that lists those there are."""
        return frame_of(name, self.offered)

    def since_ms(self, frame: Timeframe) -> int | None:
        """Since when these bars are counted, None when nobody knows."""
        offer: Timeframes | None = self._beside("timeframes", "timeframes")
        return None if offer is None else offer.since_ms.get(frame.name)

    @property
    def filling(self) -> bool:
        """Whether the past of some series is still being filled in from elsewhere."""
        offer: Timeframes | None = self._beside("timeframes", "timeframes")
        return offer is not None and offer.filling

    def whole_ms(self, frame: Timeframe) -> int:
        """From when on all bars are whole: kept, and counted here from their beginning."""
        from_ms = max(self._clock() - frame.keep_ms, self.since_ms(frame) or 0)
        first_ms = frame.start(from_ms)
        return first_ms if first_ms == from_ms else frame.following(first_ms)

    def bars(
        self, symbol: str, frame: Timeframe, start_ms: int, end_ms: int, past: Range | None = None
    ) -> tuple[list[Bucket], list[Gap]]:
        """The bars of a range, and the gaps that overlap it."""
        missed: Gaps | None = self._beside("gaps", f"{symbol}/{frame.name}")
        gaps: Iterable[Gap] = () if missed is None else missed.gaps
        outages, now_ms = self._outages(), self._clock()
        for component in (*self._config.names, self._config.volume):
            gaps = gaps_of(outages, component, start_ms, end_ms, now_ms, gaps)
        get: Get = self._get(self._config.volume)
        if past is not None:
            get = past.before(get)
        return buckets(get, symbol, frame, start_ms, end_ms, list(gaps)), list(gaps)

    def _beside(self, table: str, key: str) -> Any:
        name = f"{self._config.volume}.{table}"
        return self._get(name)(key) if name in self._names else None


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
    _check(query, ["timeframe", "start", "end"])
    wishes = _orders(config, session, symbol)
    if timeframe is None:
        for wish in wishes:
            session.follow(wish)
        return
    outages = partial(session.values, OUTAGES)
    view = View(config, session.streams, session.get, outages, session.now_ms)
    frame = view.frame(timeframe)
    start_ms, end_ms = span(frame, start, end, session.now_ms(), default_ms=frame.keep_ms)
    wanted = {"symbol": symbol, "timeframe": frame.name}
    volumes = shapes.Volumes(
        symbol,
        frame.name,
        (frame.start(start_ms), frame.start(end_ms)),
        history=lambda: view.bars(symbol, frame, start_ms, end_ms)[0],
        clock=session.now_ms,
    )
    wishes.append(session.wish(config.volume, filter=wanted, limit=0, encode=volumes))
    for wish in wishes:
        session.follow(wish)


def _orders(config: Config, session: Session, symbol: str) -> list[Wish]:
    """One symbol's orders of all streams; the first of them begins with the message that begins
    it all, even if it has none.
    """
    tables = _tables(config, session)
    precisions = Precisions(config.precisions, tuple(tables), tuple(tables.values()))
    wishes = []
    for name in config.names:
        shape = shapes.Orders(
            symbol, name == config.names[0], precision=precisions, clock=session.now_ms
        )
        of_symbol = {"symbol": symbol}
        if "role" in session.filters(name):
            of_symbol["role"] = "liquidated"  # Fills: each liquidation has another side.
        wishes.append(session.wish(name, filter=of_symbol, limit=shapes.ORDERS_FIRST, encode=shape))
    return wishes


def _tables(config: Config, session: Session) -> dict[str, Table]:
    """The instruments, as far as this client may read them: without, quantities are shown less
    well, and that is all.
    """
    found: dict[str, Table] = {}
    for name in config.instruments:
        with suppress(BadRequest):
            found[name] = session.get(name)
    return found


def _either(query: dict[str, str], name: str) -> str | None:
    """`start` or its longer name `start_time`; both from the documents."""
    long = query.pop(f"{name}_time", None)
    return query.pop(name, long)


def _check(query: dict[str, str], known: list[str]) -> None:
    """BadRequest when anything is left in a query of which all that is known has been taken."""
    for name, value in query.items():
        raise BadRequest(
            f"no parameter is called {name!r:.60}", parameter=name, value=value, allowed=known
        )


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """`GET /api/v1/liquidation-volume/{symbol}/{timeframe}?start=&end=` and
    `GET /api/v1/liquidation-windows?limit=`.
    """
    blueprint = Blueprint(f"liquidation-volume {config.volume}", __name__)
    rule = config.rest_path.replace("{", "<").replace("}", ">")

    def outages() -> list[Outage]:
        return [record.value for record in streams[OUTAGES].read(0).records]

    view = View(config, streams, lambda name: streams[name].get, outages, desk.now_ms)
    older = config.past()

    @blueprint.get(rule)
    async def volume(symbol: str, timeframe: str) -> Response:
        """The liquidation volume of one symbol and timeframe."""
        name, frame = symbol_of(symbol), view.frame(timeframe)
        query = dict(request.args.items())
        start, end = (_either(query, parameter) for parameter in ("start", "end"))
        _check(query, ["start", "end", "start_time", "end_time"])
        start_ms, end_ms = span(frame, start, end, desk.now_ms())
        past, since_ms = None, view.since_ms(frame)
        upto_ms = min(end_ms + 1, view.whole_ms(frame))
        if older is not None and frame.start(start_ms) < upto_ms:
            streams[config.volume]  # Which checks that whoever asks may read it.
            past = await older.range(name, frame, start_ms, upto_ms)
            begun = [one for one in (since_ms, past.since_ms) if one is not None]
            since_ms = min(begun, default=None)
        found, gaps = view.bars(name, frame, start_ms, end_ms, past)
        body = (
            b'{"symbol":%b,"timeframe":%b,"data":%b,"start_time":%d,"end_time":%d,"gaps":%b,"since":%b,%b}'
            % (
                codec.encode(name),
                codec.encode(frame.name),
                shapes.points_json(found),
                start_ms,
                end_ms,
                codec.encode(gaps),
                codec.encode(since_ms),
                codec.encode(shapes.worth(found))[1:-1],
            )
        )
        return Response(body, content_type="application/json")

    windows = Windows(streams[config.volume], desk.now_ms, view.since_ms, lambda: view.filling)

    @blueprint.get(config.windows_path)
    async def sums() -> Response:
        """What was liquidated in the last hours, by symbol, side and venue."""
        streams[config.volume]  # Which checks that whoever asks may read it.
        query = dict(request.args.items())
        limit = _limit(query.pop("limit", None))
        _check(query, ["limit"])
        found = await windows.answer(view.offered or STANDARD, limit)
        return Response(codec.encode(found), content_type="application/json")

    return blueprint


def _limit(text: str | None) -> int:
    if text is None:
        return SYMBOLS
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= SYMBOLS_MAX:
        allowed = f"1 to {SYMBOLS_MAX}"
        raise BadRequest(
            "limit is a number of symbols", parameter="limit", value=text, allowed=allowed
        )
    return int(text)
