"""The exchange itself: who is connected, who hears what, and what goes wrong."""

import ssl
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from random import Random
from typing import Final

import trio
from attrs import frozen
from trio_websocket import wrap_server_stream

from flowd_simulator.binance import events
from flowd_simulator.binance.audience import Audience
from flowd_simulator.binance.names import ALL_FORCED_ORDERS, Stream, parse_stream, route
from flowd_simulator.binance.rest import Rest
from flowd_simulator.binance.sampler import Rule, Sampler
from flowd_simulator.binance.volume import Volume
from flowd_simulator.cascades import Side
from flowd_simulator.faults import Faults
from flowd_simulator.instruments import DEFAULT_SYMBOLS
from flowd_simulator.market import Market
from flowd_simulator.orders import ForcedOrder, OrderFlow
from flowd_simulator.recording import PAUSE_MIN_S, Frame, pace, shifted
from flowd_simulator.session import Clock, Limits, Session, guarded
from flowd_simulator.web import loopback, serve_http, serve_streams

TICK_MS: Final = 250
PLACE_WEIGHTS: Final[dict[events.Place, int]] = {"inside": 14, "beside": 3, "absent": 3}
BEHIND_MAX_MS: Final = 10_000
"""A clock that leaps is not followed further back than this."""
HANDSHAKE_S: Final = 10.0
LOOK_BACK_S: Final = 0.02


@frozen
class Addresses:
    """Where the exchange listens. flowd's `url` is `market`."""

    websocket: str
    rest: str

    @property
    def market(self) -> str:
        """The base of all market streams."""
        return f"{self.websocket}/market"


class Binance:
    """A simulated Binance.

    `serve` plays it on loopback. Tests run `run` in a nursery instead and give `serve_websocket`
    one end of a stream; with `rate` 0 and no stream that ticks, even `run` is not needed, since
    `liquidate` speaks at once.
    """

    def __init__(
        self,
        seed: int,
        clock: Clock,
        symbols: Sequence[str] = DEFAULT_SYMBOLS,
        *,
        rate: float = 0.0,
        sampling: Rule = "latest",
        faults: Faults | None = None,
        limits: Limits | None = None,
        weight_limit: int = 2400,
    ) -> None:
        self.clock = clock
        self.faults = faults or Faults()
        self.limits = limits or Limits()
        self.market = Market(seed, symbols, rate=rate)
        self._flow = OrderFlow(self.market)
        volume = Volume(self._flow, sampling)
        self.rest = Rest(self.market, clock, weight_limit=weight_limit, volume=volume)
        self.handshake_status: int | None = None
        """Set to refuse new connections with this HTTP status, as 451 or 503."""
        self._sampler = Sampler(sampling, Random(f"{seed}/sampler"))
        self._places = Random(f"{seed}/places")
        self._audience = Audience(self.faults, Random(f"{seed}/faults"))
        self._symbols = {symbol.lower(): symbol for symbol in self.market.instruments}
        self._replayed: frozenset[str] = frozenset()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._audience)

    @property
    def accepted(self) -> int:
        """How many connections were ever accepted."""
        return self._audience.accepted

    # What a test or an operator can make happen

    def liquidate(
        self,
        symbol: str,
        side: Side,
        price: str | Decimal,
        quantity: str | Decimal,
        *,
        time_ms: int | None = None,
        place: events.Place = "inside",
    ) -> str:
        """Tell subscribers about one forced order, at once and unsampled. Returns the bare event.

        Numbers are sent as they are written here; `time_ms` (`T`) is now unless given.
        """
        assert side in ("BUY", "SELL"), f"no such side: {side}"
        order = ForcedOrder(
            symbol=symbol,
            pair=symbol.partition("_")[0],
            side=side,
            limit=str(price),
            average=str(price),
            quantity=str(quantity),
            last_fill=str(quantity),
            time_ms=self.clock() if time_ms is None else time_ms,
            coin_margined="_" in symbol,
        )
        return self._tell(order, place)

    def tell_candle(self, symbol: str, interval: str, time_ms: int) -> None:
        """Tell subscribers the candle that holds this time as it is now, once more or late."""
        name = f"{symbol.lower()}@kline_{interval}"
        stream = parse_stream(name, self._symbols.get)
        assert stream is not None, f"no such stream: {name}"
        event = events.kline(self.market, stream, time_ms, self.clock())
        self._audience.publish((name,), event)

    def fill(self, order: ForcedOrder) -> None:
        """Have a forced order happen. The exchange samples it and tells of it about 1 s later."""
        self._sampler.add(order)

    def send(self, raw_text: str) -> None:
        """Send every client this text, as it is, whatever it subscribed to."""
        for session in self._audience:
            session.send(raw_text)

    def drop_all(self) -> None:
        """Cut every connection without a goodbye."""
        for session in self._audience:
            session.drop()

    def close_all(self, code: int = 1001, reason: str = "") -> None:
        """End every connection with a close frame."""
        for session in self._audience:
            session.close(code, reason)

    def stall(self) -> None:
        """Say nothing more, on old connections and new ones; what would be said is lost.

        Pings of clients are still answered: only the codec is awake.
        """
        self.faults.stalled = True

    def resume(self) -> None:
        """Speak again."""
        self.faults.stalled = False

    # Running

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int = 0,
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Play the exchange on two loopback ports until cancelled, over TLS if there is a context
        for it. Port 0 takes a free one.
        """
        host, s = loopback(host), "" if tls is None else "s"
        serve_websockets = partial(serve_streams, tls=tls)
        async with trio.open_nursery() as nursery:
            at = await nursery.start(serve_websockets, self.serve_websocket, host, port)
            rest = partial(serve_http, self.rest.app, tls=tls)
            rest_at = await nursery.start(rest, host, rest_port)
            nursery.start_soon(self.run)
            nursery.start_soon(self._look_back)
            task_status.started(Addresses(f"ws{s}://{at}", f"http{s}://{rest_at}"))

    async def run(self) -> None:
        """Let the market go on, and the scheduled faults happen, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._trade)
            nursery.start_soon(self.faults.run, "Binance", self._cut)

    async def replay(
        self,
        frames: Sequence[Frame],
        *,
        speed: float = 1.0,
        loop: bool = False,
        shift_to_now: bool = False,
    ) -> None:
        """Play a recording to those subscribed to its streams, which the market then leaves to it.

        `shift_to_now` writes the time of sending into each event.
        """
        self._replayed |= {name for frame in frames for name in frame.streams}
        while True:
            for wait_s, frame in pace(frames, speed):
                await trio.sleep(wait_s)
                event = shifted(frame, self.clock()) if shift_to_now else frame.event
                self._audience.publish(frame.streams, event)
            if not loop:
                return
            await trio.sleep(PAUSE_MIN_S)

    async def serve_websocket(self, stream: trio.abc.Stream) -> None:
        """Serve one client over any stream, until it or the exchange ends the connection.

        Closes the stream. What goes wrong with a client is logged and ends here.
        """
        await guarded(self._serve_client, stream)

    async def _serve_client(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as codec:
            with trio.move_on_after(HANDSHAKE_S) as handshake:
                request = await wrap_server_stream(codec, stream, message_queue_size=64)
                asked = route(request.path)
                refusal = self.handshake_status or (404 if asked is None else None)
                if refusal is not None:
                    await request.reject(refusal)
                else:
                    connection = await request.accept()
            if not handshake.cancelled_caught and asked is not None and refusal is None:
                session = Session(connection, self.limits, self.faults, self.clock)
                await self._audience.seat(session, asked, self.limits.streams)
            codec.cancel_scope.cancel()

    async def _look_back(self) -> None:
        """Have all years of candles at hand, so that the first who asks for it need not wait."""
        for symbol in self.market.instruments:
            for _ in self.market.prepare(symbol, self.clock()):
                await trio.sleep(LOOK_BACK_S)

    async def _trade(self) -> None:
        """The market's pulse. What happens is decided elsewhere, as a function of time."""
        after_ms = self.clock()
        while True:
            now_ms = self.clock()
            after_ms = max(after_ms, now_ms - BEHIND_MAX_MS)
            for order in self._flow.between(after_ms, now_ms):
                self._sampler.add(order)
            for order in self._sampler.due(now_ms):
                self._tell(order, self._place())
            for name, stream in self._wanted().items():
                for event in events.pushes(self.market, stream, after_ms, now_ms):
                    self._audience.publish((name,), event)
            after_ms = now_ms
            wake_ms = now_ms - now_ms % TICK_MS + TICK_MS
            wake_ms = min(wake_ms, self._sampler.next_due_ms or wake_ms)
            await trio.sleep(max(1, wake_ms - now_ms) / 1000)

    def _wanted(self) -> dict[str, Stream]:
        """The streams that tick and have a listener, but for those which a recording plays."""
        names = (name for name in self._audience.wanted() if name not in self._replayed)
        found = {name: parse_stream(name, self._symbols.get) for name in names}
        return {name: stream for name, stream in found.items() if stream is not None}

    def _place(self) -> events.Place:
        (place,) = self._places.choices(tuple(PLACE_WEIGHTS), tuple(PLACE_WEIGHTS.values()))
        return place

    def _tell(self, order: ForcedOrder, place: events.Place) -> str:
        event = events.forced_order(order, self.clock(), place)
        own = () if order.coin_margined else (f"{order.symbol.lower()}@forceOrder",)
        self._audience.publish((*own, ALL_FORCED_ORDERS), event)
        return event

    def _cut(self) -> int:
        count = self.connections
        self.drop_all()
        return count
