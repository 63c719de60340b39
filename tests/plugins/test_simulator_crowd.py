"""The simulated traders with leverage: what they hold, what they lose, and that it is told."""

from collections import defaultdict
from itertools import pairwise
from math import exp

import numpy as np
import pytest
from flowd_simulator.cascades import WINDOW_MS, WINDOWS_DAY, Side
from flowd_simulator.crowd import LASTING, LEVERAGED, SHARES, liquidation, usual
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS
from flowd_simulator.market import Market
from flowd_simulator.noise import signed, unit
from flowd_simulator.noise_arrays import signs, units
from flowd_simulator.orders import OrderFlow

DAY = 1_790_526_540_000 // DAY_MS
"""2026-09-27."""
FIRST = DAY * WINDOWS_DAY


def market(rate: float = 60) -> Market:
    return Market(7, rate=rate)


def held(market: Market, instrument: Instrument, window: int) -> tuple[float, float]:
    """What is open after a window and what longs lost in it, as it is said in words."""
    crowd = market.crowd
    days = [crowd._extremes.day(instrument, DAY - ago) for ago in (2, 1, 0)]
    high, low, entry = (np.concatenate(parts) for parts in zip(*days, strict=True))
    first = FIRST - 2 * WINDOWS_DAY
    longs, shorts = crowd._opened(instrument, first, len(entry))
    now = window - first
    open, lost = 0.0, 0.0
    for then in range(max(0, now + 1 - 2 * WINDOWS_DAY), now + 1):
        for leverage, share in SHARES.items():
            long_price = entry[then] * liquidation(leverage, 1)
            short_price = entry[then] * liquidation(leverage, -1)
            left = share * exp(-(now - then) / LASTING)
            if low[then + 1 : now + 1].min(initial=1e9) > long_price:
                open += longs[then] * left / 2
            elif low[then + 1 : now].min(initial=1e9) > long_price:
                lost += longs[then] * share * exp(-(now - 1 - then) / LASTING)
            if high[then + 1 : now + 1].max(initial=0) < short_price:
                open += shorts[then] * left / 2
    return (1 - LEVERAGED) * usual(instrument) + open, lost


def test_noise_of_many_places_is_that_of_each() -> None:
    places = np.arange(10**12, 10**12 + 50)

    assert units(2**63 + 5, places).tolist() == [unit(2**63 + 5, int(at)) for at in places]
    assert signs(7, places).tolist() == [signed(7, int(at)) for at in places]


@pytest.mark.parametrize("rate", [0, 60])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
def test_extremes_of_a_day_are_those_of_its_candles(symbol: str, rate: float) -> None:
    one = market(rate)
    instrument = one.instrument(symbol)
    tick = float(instrument.tick)

    day = one.crowd._extremes.day(instrument, DAY)

    for window in range(WINDOWS_DAY):
        start_ms = (FIRST + window) * WINDOW_MS
        candle = one.candle(symbol, start_ms, start_ms + WINDOW_MS - 1)
        assert day.high[window] == pytest.approx(candle.high * tick, abs=tick)
        assert day.low[window] == pytest.approx(candle.low * tick, abs=tick)
        assert day.close[window] == pytest.approx(one.price(symbol, start_ms + WINDOW_MS))


@pytest.mark.parametrize(
    ("leverage", "long", "short"),
    [(5, 80_321.29, 119_521.91), (10, 90_361.45, 109_561.75), (100, 99_397.59, 100_597.61)],
)
def test_a_position_is_liquidated_where_its_margin_is_used_up(
    leverage: int, long: float, short: float
) -> None:
    assert 100_000 * liquidation(leverage, 1) == pytest.approx(long, abs=0.005)
    assert 100_000 * liquidation(leverage, -1) == pytest.approx(short, abs=0.005)


@pytest.mark.parametrize("window", [0, 1, 100, 200, 287])
def test_what_is_open_is_what_was_opened_and_neither_closed_nor_reached(window: int) -> None:
    one = market()
    instrument = one.instrument("SOLUSDT")

    open, lost = held(one, instrument, FIRST + window)

    after_ms = (FIRST + window + 1) * WINDOW_MS
    assert one.crowd.open_interest(instrument, after_ms) == pytest.approx(open)
    assert one.crowd.lost(instrument, FIRST + window, "SELL") == pytest.approx(lost)


def test_any_day_can_be_asked_for_first() -> None:
    forth, back = market(), market()
    times_ms = range((DAY - 3) * DAY_MS, (DAY + 1) * DAY_MS, 7_777_777)

    there = [forth.open_interest("BTCUSDT", time_ms) for time_ms in times_ms]
    again = [back.open_interest("BTCUSDT", time_ms) for time_ms in reversed(times_ms)]

    assert there == again[::-1]


def test_open_interest_does_not_jump_at_midnight() -> None:
    one = market()

    before = one.open_interest("BTCUSDT", DAY * DAY_MS - 1)
    after = one.open_interest("BTCUSDT", DAY * DAY_MS)

    assert after == pytest.approx(before, rel=1e-5)


def test_open_interest_rises_and_falls() -> None:
    one = market()
    level = [one.open_interest("BTCUSDT", (FIRST + n) * WINDOW_MS) for n in range(WINDOWS_DAY)]
    rising = [later > earlier for earlier, later in pairwise(level)]

    assert 0.15 < sum(rising) / len(rising) < 0.6
    assert 1.01 < max(level) / min(level) < 1.3


def test_cascades_cost_the_crowd_more_than_a_calm_market() -> None:
    def lost(rate: float) -> float:
        one = market(rate)
        instrument, sides = one.instrument("BTCUSDT"), ("BUY", "SELL")
        windows = range(FIRST, FIRST + WINDOWS_DAY)
        return sum(one.crowd.lost(instrument, window, side) for window in windows for side in sides)

    assert lost(60) > 2 * lost(0) > 0


def test_forced_orders_are_what_the_crowd_loses() -> None:
    one = market(300)
    flow = OrderFlow(one)
    symbols, sides = ("BTCUSDT", "ETHUSDT", "SOLUSDT"), ("BUY", "SELL")
    told: dict[tuple[str, int, Side], float] = defaultdict(float)
    lost: dict[tuple[str, int, Side], float] = {}
    for window in range(FIRST, FIRST + 24):
        start_ms = window * WINDOW_MS
        for order in flow.between(start_ms - 1, start_ms + WINDOW_MS - 1):
            told[order.symbol, window, order.side] += float(order.notional)
        for symbol in symbols:
            instrument, price = one.instrument(symbol), one.price(symbol, start_ms)
            for side in sides:
                amount = one.crowd.lost(instrument, window, side)
                lost[symbol, window, side] = amount * price

    for symbol in symbols:
        places = [place for place in lost if place[0] == symbol]
        all_told = sum(told[place] for place in places)
        assert all_told == pytest.approx(sum(lost[place] for place in places), rel=0.25)
        quiet = [told[place] for place in places if not lost[place]]
        assert len(quiet) > 15
        assert sum(quiet) < 0.05 * all_told
