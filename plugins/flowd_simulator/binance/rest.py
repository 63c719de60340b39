"""The public REST calls, with request weights, bans and the exchange's error bodies."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio

from flowd_simulator.binance import quotes
from flowd_simulator.binance.events import candle_texts
from flowd_simulator.binance.query import BadRequest, Query, number, one_of, openings, traded
from flowd_simulator.binance.volume import Volume
from flowd_simulator.binance.weights import Refused, Weights
from flowd_simulator.candles import Candle
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS, INTERVALS, WIDTHS_MS, following, width_ms
from flowd_simulator.market import Market
from flowd_simulator.session import Clock

KLINES_USUAL: Final = 500
KLINES_MAX: Final = 1500
ROWS_AT_ONCE: Final = 100
HISTORY_MAX: Final = 500
HISTORY_KEPT_MS: Final = 30 * DAY_MS
PERIODS: Final = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")


class Rest:
    """The calls, as a Quart app in `app`."""

    def __init__(
        self,
        market: Market,
        clock: Clock,
        *,
        weight_limit: int = 2400,
        volume: Volume | None = None,
    ) -> None:
        self.app = QuartTrio("flowd_simulator.binance")
        self.weights = Weights(clock, weight_limit)
        self._market = market
        self._clock = clock
        self._refused: dict[str, Refused] = {}
        self._add("/fapi/v1/ping", self._ping, _light)
        self._add("/fapi/v1/time", self._time, _light)
        self._add("/fapi/v1/exchangeInfo", self._exchange_info, _light)
        self._add("/fapi/v1/klines", self._klines, _klines_weight)
        self._add("/fapi/v1/continuousKlines", self._continuous_klines, _klines_weight)
        for version in ("v1", "v2"):
            self._add(f"/fapi/{version}/ticker/price", self._each(quotes.price), _light)
        self._add("/fapi/v1/ticker/24hr", self._each(quotes.day), _day_weight)
        self._add("/fapi/v1/premiumIndex", self._each(quotes.premium), _light)
        self._add("/fapi/v1/openInterest", self._open_interest, _light)
        self._add("/futures/data/openInterestHist", self._open_interest_history, None)
        if volume is not None:
            self._add_volume(volume)

    def refuse(
        self, status: int | None, *, retry_after_s: int | None = None, only: str = ""
    ) -> None:
        """Answer every call with this HTTP status, until called with None: 403, 418, 429, 451, 5xx;
        or only those whose path has `only` in it.

        418 and 429 carry `Retry-After`, 60 unless given.
        """
        if status is None:
            self._refused.pop(only, None)
            return
        usual = 60 if status in (418, 429) else None
        self._refused[only] = Refused(status, retry_after_s or usual)

    def _add(
        self,
        path: str,
        call: Callable[[Query], Awaitable[object]],
        weigh: Callable[[Query], int] | None,
    ) -> None:
        async def view() -> Response:
            try:
                weight = 0 if weigh is None else weigh(request.args)
                told = [one for part, one in self._refused.items() if part in path]
                refused = told[0] if told else self.weights.spend(weight)
                if weigh is None:
                    refused = refused or self.weights.spend_history()
                if refused is not None:
                    return self._refusal(refused)
                return self._response(200, await call(request.args))
            except BadRequest as error:
                return self._response(400, {"code": error.code, "msg": error.message})

        self.app.add_url_rule(path, path, view)

    def _add_volume(self, volume: Volume) -> None:
        """What another flowd would answer, for `backfill_from`; it has no weight."""

        async def view(symbol: str, timeframe: str) -> Response:
            if symbol not in self._market.instruments:
                return self._response(404, {"code": -1121, "msg": "Invalid symbol."})
            try:
                now_ms = self._clock()
                return self._response(
                    200, await volume.answer(symbol, timeframe, request.args, now_ms)
                )
            except BadRequest as error:
                return self._response(400, {"code": error.code, "msg": error.message})

        path = "/api/v1/liquidation-volume/<symbol>/<timeframe>"
        self.app.add_url_rule(path, path, view)

    def _refusal(self, refused: Refused) -> Response:
        response = self._response(refused.status, refused.body(self._clock()))
        if refused.retry_after_s is not None:
            response.headers["Retry-After"] = str(refused.retry_after_s)
        return response

    def _response(self, status: int, body: object) -> Response:
        if isinstance(body, str):
            return Response(body, status, content_type="text/html")
        response = Response(msgspec.json.encode(body), status, content_type="application/json")
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(self.weights.used)
        return response

    async def _ping(self, query: Query) -> object:
        return {}

    async def _time(self, query: Query) -> object:
        return {"serverTime": self._clock()}

    async def _exchange_info(self, query: Query) -> object:
        assets = dict.fromkeys(each.quote for each in self._market.instruments.values())
        return {
            "timezone": "UTC",
            "serverTime": self._clock(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.weights.limit,
                }
            ],
            "exchangeFilters": [],
            "assets": [quotes.asset(name) for name in assets],
            "symbols": [quotes.symbol(each) for each in self._market.instruments.values()],
        }

    def _each(
        self, tell: Callable[[Market, Instrument, int], object]
    ) -> Callable[[Query], Awaitable[object]]:
        """A call about the symbol that is asked for, or about all of them."""

        async def call(query: Query) -> object:
            now_ms, known = self._clock(), self._market.instruments
            if "symbol" in query:
                return tell(self._market, traded(query, known), now_ms)
            return [tell(self._market, instrument, now_ms) for instrument in known.values()]

        return call

    async def _continuous_klines(self, query: Query) -> object:
        invalid = BadRequest(-1130, "Data sent for parameter 'contractType' is not valid.")
        one_of(query, "contractType", ("PERPETUAL",), invalid)
        return await self._klines({**query, "symbol": query.get("pair", "")})

    async def _klines(self, query: Query) -> object:
        instrument, now_ms = traded(query, self._market.instruments), self._clock()
        interval = one_of(query, "interval", INTERVALS, BadRequest(-1120, "Invalid interval."))
        limit = number(query, "limit", KLINES_USUAL, least=1, most=KLINES_MAX)
        wanted = openings(query, interval, now_ms, limit)
        if wanted and not width_ms(interval) % DAY_MS:
            newest_ms = min(now_ms, following(interval, wanted[-1]))
            for _ in self._market.prepare(instrument.symbol, newest_ms, wanted[0]):
                await trio.lowlevel.checkpoint()  # Ten years at once would hold all others up.
        candles = self._market.candles(instrument.symbol, interval, wanted, now_ms)
        rows = []
        for opening_ms, candle in zip(wanted, candles, strict=True):
            rows.append(self._row(instrument, interval, opening_ms, candle))
            if not len(rows) % ROWS_AT_ONCE:
                await trio.lowlevel.checkpoint()  # Others get a turn.
        return rows

    def _row(
        self, instrument: Instrument, interval: str, opening_ms: int, candle: Candle
    ) -> list[object]:
        texts = candle_texts(instrument, candle)
        close_ms = following(interval, opening_ms) - 1
        prices = [texts[name] for name in "ohlcv"]
        return [
            opening_ms, *prices, close_ms, texts["q"], candle.trades, texts["V"], texts["Q"], "0"
        ]  # fmt: skip

    async def _open_interest(self, query: Query) -> object:
        instrument, now_ms = traded(query, self._market.instruments), self._clock()
        steps = self._market.open_interest(instrument.symbol, now_ms)
        return {
            "symbol": instrument.symbol,
            "openInterest": instrument.quantity_text(steps),
            "time": now_ms,
        }

    async def _open_interest_history(self, query: Query) -> object:
        instrument, now_ms = traded(query, self._market.instruments), self._clock()
        invalid = BadRequest(-1130, "Data sent for parameter 'period' is not valid.")
        width_ms = WIDTHS_MS[one_of(query, "period", PERIODS, invalid)]
        limit = number(query, "limit", 30, least=1, most=HISTORY_MAX)
        oldest_ms = now_ms - HISTORY_KEPT_MS
        start_ms = number(query, "startTime", oldest_ms)
        if start_ms < oldest_ms:
            raise BadRequest(-1130, "Data sent for parameter 'startTime' is not valid.")
        end_ms = min(now_ms, number(query, "endTime", now_ms))
        first_ms = -(-start_ms // width_ms) * width_ms
        times = range(first_ms, end_ms + 1, width_ms)
        # The newest are given unless the start is asked for, as with klines.
        chosen = times[:limit] if "startTime" in query else times[-limit:]
        rows = []
        for time_ms in chosen:
            rows.append(self._history_row(instrument, time_ms))
            await trio.lowlevel.checkpoint()  # Weeks that nobody asked for yet take a while.
        return rows

    def _history_row(self, instrument: Instrument, time_ms: int) -> dict[str, object]:
        amount = self._market.open_interest(instrument.symbol, time_ms) * instrument.step
        value = amount * Decimal(self._market.price(instrument.symbol, time_ms))
        return {
            "symbol": instrument.symbol,
            "sumOpenInterest": f"{amount:.8f}",
            "sumOpenInterestValue": f"{value:.8f}",
            "timestamp": time_ms,
        }


def _light(query: Query) -> int:
    return 1


def _day_weight(query: Query) -> int:
    return 1 if "symbol" in query else 40


def _klines_weight(query: Query) -> int:
    limit = number(query, "limit", KLINES_USUAL, least=1, most=KLINES_MAX)
    prices = {99: 1, 499: 2, 1000: 5, KLINES_MAX: 10}
    return next(weight for most, weight in prices.items() if limit <= most)
