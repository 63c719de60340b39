"""What Binance lists: as a table that is news only when something is new."""

from decimal import Decimal
from typing import Any

import pytest
import trio
from flowd_binance.instruments import Config, instrument, instruments

from flowd import testing
from flowd.market import Instrument
from flowd.plugin import Seconds, UpstreamError, unwrap

PATH = "/fapi/v1/exchangeInfo"
Clock = trio.testing.MockClock


def row(symbol: str = "BTCUSDT", tick: object = "0.10", step: object = "0.001", **more: Any) -> Any:
    """One symbol, as Binance tells it, as far as it is read."""
    return {
        "symbol": symbol,
        "contractType": "PERPETUAL",
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "556.80", "tickSize": tick},
            {"filterType": "LOT_SIZE", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "1"},
        ],
    } | more


def info(*rows: Any) -> dict[str, Any]:
    return {"timezone": "UTC", "symbols": list(rows)}


def feed_of(answer: Any) -> testing.ScriptedFeed[Instrument]:
    rest = testing.rest({PATH: answer})
    return testing.feed(record=Instrument, retain=100, rest=rest)


async def run(feed: Any, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await instruments(Config(), feed)


def test_a_symbol_is_read_as_binance_lists_it() -> None:
    assert instrument(row(), 7) == Instrument(
        "BTCUSDT",
        "binance",
        "BTC",
        "USDT",
        Decimal("0.1"),
        Decimal("0.001"),
        None,
        "USDT",
        "TRADING",
        7,
    )


def test_what_is_not_told_is_none_and_what_makes_no_sense_is_an_error() -> None:
    found = instrument(row(filters=[], marginAsset=None), 0)

    assert (found.tick, found.step, found.settle) == (None, None, "USDT")
    assert instrument(row(tick="0.00"), 0).tick is None
    for wrong in ("x", ["a"], row(symbol=""), row(baseAsset=5), row(tick="NaN"), row(step=0.1)):
        with pytest.raises(ValueError, match="no "):
            instrument(wrong, 0)


async def test_what_is_listed_is_a_table_with_news_only_when_something_is_new(
    autojump_clock: Clock,
) -> None:
    first = info(row(), row("ETHUSDT"), row("BAD", tick="x"))
    then = info(row(), row("ETHUSDT", tick="0.01"), row("NEWUSDT"))
    feed = feed_of(testing.turns(first, first, then, info(row("NEWUSDT"))))

    await run(feed, 3601)
    unchanged = feed.stream.seq
    await run(feed, 10)
    changed = [record.value.symbol for record in feed.stream.after(unchanged)]
    before = len(feed.stream)
    await run(feed, 10)

    assert unchanged == 2
    assert changed == ["ETHUSDT", "NEWUSDT"]
    assert before == 3
    assert [record.value.symbol for record in feed.stream.after(0)] == ["NEWUSDT"]
    assert feed.tally.dropped["instrument: tickSize is no number"] == 2


@pytest.mark.parametrize("answer", [{"symbols": []}, {}, [1], testing.Reply(451, {"code": 0})])
async def test_a_list_that_does_not_come_leaves_the_last_one(
    answer: Any, autojump_clock: Clock
) -> None:
    feed = feed_of(testing.turns(info(row()), answer))

    with pytest.raises(UpstreamError) as failed:
        await run(feed, 4000)

    assert "Binance" in str(unwrap(failed.value))
    assert [record.key for record in feed.stream.after(0)] == ["binance/BTCUSDT"]


async def test_a_list_of_two_megabytes_is_read_in_portions(autojump_clock: Clock) -> None:
    many = info(*(row(f"S{number}USDT", padding="x" * 2000) for number in range(900)))
    feed = testing.feed(record=Instrument, retain=2000, rest=testing.rest({PATH: many}))
    steps: list[int] = []

    class Published(trio.abc.Instrument):
        before = 0

        def before_task_step(self, task: Any) -> None:
            self.before = feed.stream.seq

        def after_task_step(self, task: Any) -> None:
            steps.append(feed.stream.seq - self.before)

    instrument = Published()
    trio.lowlevel.add_instrument(instrument)
    await run(feed, 10)
    trio.lowlevel.remove_instrument(instrument)

    assert len(feed.stream) == 900
    assert max(steps) == 100


def test_a_list_is_asked_for_once_a_minute_to_once_a_day() -> None:
    for wrong in (59, 86_401):
        with pytest.raises(ValueError, match="expected 1m to 24h"):
            Config(every=Seconds(float(wrong)))
    with pytest.raises(ValueError, match="expected"):
        Config(rest_url="ftp://x")
