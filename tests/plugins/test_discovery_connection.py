"""One connection to Hyperliquid after the other: subscriptions, old trades, pings, and the end of
each.
"""

import json
import logging
from typing import Any

import pytest
import trio
from flowd_hyperliquid import parse
from flowd_hyperliquid.discovery import Config, discover, may_stand_by
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import UpstreamError, UpstreamSilent
from tests.plugins.discovery_kit import (
    PONG,
    T0,
    echoed,
    exchange,
    failure,
    feed,
    frames,
    numbers,
    refused,
    sent,
    told,
    trades,
)

Nursery = trio.Nursery
BTC = Config(["BTC"])
THREE = Config(["BTC", "ZZZ", "ETH"])


def start(nursery: Nursery, settings: Config, feed: Any) -> None:
    """Run the source; its end is upstream's, and no failure of the test."""

    async def quietly() -> None:
        try:
            await discover(settings, testing.streams(), feed)
        except* UpstreamError:
            pass

    nursery.start_soon(quietly)


def later(number: int, **changes: Any) -> dict[str, Any]:
    """The nth trade, long after the connection was made."""
    return sent(number, **{"time": T0 + 60_000 + 100 * number, **changes})


async def lives(settings: Config, feed: Any, count: int) -> None:
    """So many lives of the source, one after the other, as the supervisor starts them."""
    for _ in range(count):
        await failure(settings, feed)


# -- subscribing


async def test_each_coin_is_subscribed_at_a_measured_pace(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    coins = [f"C{number}" for number in range(100)]
    source = feed(exchange())
    start(nursery, Config(coins), source)

    await trio.sleep(1.01)
    after_a_second = len(source.upstream.heard)
    await trio.sleep(4)

    assert 20 <= after_a_second <= 30
    assert [json.loads(text)["subscription"]["coin"] for text in source.upstream.heard] == coins
    assert source.upstream.heard[0] == (
        '{"method":"subscribe","subscription":{"type":"trades","coin":"C0"}}'
    )
    assert source.tally.figures["coins_confirmed"] == 100
    nursery.cancel_scope.cancel()


async def test_data_flows_once_every_coin_is_confirmed(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(
        testing.hears(2)
        + testing.says(echoed("BTC", fast=False))
        + testing.waits(1)
        + testing.says(echoed("ETH"))
    )
    start(nursery, Config(["BTC", "ETH"]), source)

    await trio.sleep(0.5)
    halfway = source.tally.delivering
    await trio.sleep(1)

    assert (halfway, source.tally.delivering) == (False, True)
    nursery.cancel_scope.cancel()


async def test_a_refused_coin_is_an_error_that_names_it_and_the_others_go_on(
    autojump_clock: MockClock, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    source = feed(exchange({"ETH": [sent(1, coin="ETH")]}, refuses=["ZZZ"]))
    start(nursery, THREE, source)

    await trio.sleep(1)

    (error,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "refuses the coin 'ZZZ'" in error.getMessage()
    assert source.tally.dropped == {"refused: ZZZ": 1}
    assert source.tally.figures["coins_refused"] == 1
    assert source.tally.delivering
    assert numbers(source) == [1]
    nursery.cancel_scope.cancel()


async def test_where_every_coin_is_refused_the_source_ends_and_says_so(
    autojump_clock: MockClock,
) -> None:
    error = await failure(Config(["ZZZ"]), feed(exchange(refuses=["ZZZ"])))

    assert isinstance(error, UpstreamError)
    assert error.retry_s == 60
    assert "refuses every coin: ZZZ" in str(error)


async def test_a_coin_that_is_not_confirmed_is_named_and_asked_for_again(
    autojump_clock: MockClock, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    source = feed(exchange(ignores=["ZZZ"]))
    start(nursery, THREE, source)

    await trio.sleep(9)
    early = dict(source.tally.dropped)
    await trio.sleep(2)

    assert early == {}
    assert source.tally.dropped == {"not confirmed: ZZZ": 1}
    assert "'ZZZ' was not confirmed within 10s" in caplog.text
    assert source.tally.delivering, "the others go on"
    await trio.sleep(75)
    asked = [text for text in source.upstream.heard if "ZZZ" in text]
    assert len(asked) == 2
    nursery.cancel_scope.cancel()


async def test_where_nothing_is_confirmed_the_source_ends(autojump_clock: MockClock) -> None:
    error = await failure(BTC, feed(exchange(ignores=["BTC"])))

    assert "no subscription was confirmed within 10s: BTC" in str(error)


async def test_a_coin_that_was_subscribed_already_is_confirmed(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    text = 'Already subscribed: {"type":"trades","coin":"BTC"}'
    source = feed(testing.hears() + testing.says(json.dumps({"channel": "error", "data": text})))
    start(nursery, BTC, source)

    await trio.sleep(1)

    assert source.tally.delivering
    assert source.tally.dropped == {}
    nursery.cancel_scope.cancel()


async def test_trades_without_an_echo_confirm_their_coin(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(testing.hears() + testing.says(told(sent(1))))
    start(nursery, BTC, source)

    await trio.sleep(15)

    assert source.tally.figures["coins_confirmed"] == 1
    assert source.tally.delivering
    nursery.cancel_scope.cancel()


async def test_what_comes_before_it_was_asked_for_is_counted_and_left(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    early = told(sent(1, coin="ETH"), sent(2, coin="ZZZ"))
    source = feed(exchange() + testing.says(early, echoed("ETH"), refused("ZZZ"), early))
    start(nursery, Config([*(f"C{number}" for number in range(50)), "ZZZ", "ETH"]), source)

    await trio.sleep(10)

    assert source.tally.dropped == {"not asked for": 5, "error from upstream": 1}
    assert source.tally.figures["coins_confirmed"] == 52
    nursery.cancel_scope.cancel()


async def test_the_greeting_of_former_times_is_ignored_and_other_nonsense_counted(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(
        testing.says("Websocket connection established.")
        + testing.hears()
        + testing.says(echoed(), "nonsense", "[]", '{"channel":"weather"}', PONG)
        + testing.says(echoed("DOGE"), *frames("asset_ctx_candle")[:1], *frames("control")[-1:])
        + testing.says(told(sent(coin="DOGE")))
    )
    start(nursery, BTC, source)

    await trio.sleep(1)

    assert source.tally.dropped == {
        "not JSON": 1,
        "not an object": 1,
        "unknown message": 2,
        "not asked for": 2,
        "error from upstream": 1,
    }
    nursery.cancel_scope.cancel()


# -- trades


async def test_the_first_message_of_each_coin_is_what_happened_before(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    old = [sent(number, time=T0 - 5000 + number) for number in range(3)]
    script = exchange({"BTC": old}) + testing.waits(60)
    source = feed(script + testing.says(told(later(3)), told(later(4), later(5))))
    start(nursery, BTC, source)

    await trio.sleep(61)

    assert [trade.backfilled for trade in trades(source)] == [True] * 3 + [False] * 3
    assert numbers(source) == [0, 1, 2, 3, 4, 5]
    nursery.cancel_scope.cancel()


async def test_a_coin_that_never_traded_before_has_no_old_trades(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(exchange() + testing.waits(60) + testing.says(told(later(1))))
    start(nursery, BTC, source)

    await trio.sleep(61)

    assert [trade.backfilled for trade in trades(source)] == [False]
    nursery.cancel_scope.cancel()


async def test_one_bad_trade_is_counted_and_does_not_lose_the_others(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    script = exchange({"BTC": [sent(0), sent(1, px="x"), sent(2)]}) + testing.waits(1)
    bad = told(sent(3, side="?"), sent(4), "x", sent(5, users=["0x1", "0x2"]))
    source = feed(script + testing.says(bad))
    start(nursery, BTC, source)

    await trio.sleep(2)

    assert numbers(source) == [0, 2, 4, 5]
    assert source.tally.dropped == {
        "bad number": 1,
        "unknown side": 1,
        "malformed": 1,
        "bad address": 1,
    }
    nursery.cancel_scope.cancel()


async def test_a_trade_told_twice_is_published_once_and_tids_may_repeat_between_coins(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    both = Config(["BTC", "ETH"])
    script = exchange({"BTC": [sent(1)], "ETH": [sent(1, coin="ETH")]}) + testing.waits(1)
    source = feed(script + testing.says(told(sent(1), sent(2)), told(sent(2))))
    start(nursery, both, source)

    await trio.sleep(2)

    assert [(trade.symbol, trade.id[-4:]) for trade in trades(source)] == [
        ("BTC", "1001"),
        ("ETH", "1001"),
        ("BTC", "1002"),
    ]
    assert source.tally.duplicates == 2
    nursery.cancel_scope.cancel()


async def test_recorded_trades_are_published_as_they_were_told(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    lines = frames("trades_2026-09-27")
    source = feed(testing.hears() + testing.says(echoed(), *lines, *lines))
    start(nursery, BTC, source)

    await trio.sleep(1)

    assert len(trades(source)) == 33
    assert source.tally.duplicates == 33
    nursery.cancel_scope.cancel()


# -- coming back


async def test_an_old_trade_is_known_however_many_others_came_since(
    autojump_clock: MockClock,
) -> None:
    quiet = [sent(number, coin="ZZZ", time=T0 - 86_400_000 + number) for number in range(3)]
    many = [sent(number, time=T0 + number // 10) for number in range(25_000)]
    first = exchange({"ZZZ": quiet}) + testing.waits(1) + testing.says(told(*many))
    source = feed(
        first + testing.waits(1) + testing.drops(),
        exchange({"ZZZ": quiet}) + testing.waits(1) + testing.drops(),
    )

    await lives(Config(["BTC", "ZZZ"]), source, 2)

    assert source.tables["trades"].seq == 25_003
    assert source.tally.duplicates == 3


async def test_a_trade_that_a_standby_was_told_is_known_however_many_others_came_since(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    quiet = [sent(0, coin="ZZZ", time=T0 - 86_400_000)]
    many = [sent(number, time=T0 + number // 10) for number in range(1, 25_001)]
    source = feed(
        exchange() + testing.waits(5) + testing.says(told(*many)) + testing.waits(5),
        exchange({"ZZZ": quiet}),
    )
    start(nursery, Config(["BTC", "ZZZ"]), source)
    await trio.sleep(3)
    (heard,) = parse.message(told(*quiet)).trades
    trade = parse.trade(heard, backfilled=False)
    source.tables["trades"].append(trade, id=trade.id)
    await trio.sleep(10)
    assert trade.id not in source.tables["trades"].seen

    start(nursery, Config(["BTC", "ZZZ"]), source)
    await trio.sleep(5)

    assert source.tables["trades"].seq == 25_001


@pytest.mark.parametrize(("coins", "stands_by"), [(333, True), (334, False)])
def test_a_standby_follows_as_long_as_there_are_subscriptions_for_it(
    coins: int, stands_by: bool
) -> None:
    assert may_stand_by(Config([f"C{number}" for number in range(coins)])) is stands_by


async def test_old_trades_of_the_same_block_as_the_last_one_are_news(
    autojump_clock: MockClock,
) -> None:
    block = [sent(number, time=T0) for number in range(4)]
    source = feed(
        exchange({"BTC": block[:2]}) + testing.waits(1) + testing.drops(),
        exchange({"BTC": block}) + testing.waits(1) + testing.drops(),
    )

    await lives(BTC, source, 2)

    assert numbers(source) == [0, 1, 2, 3]


def coming_back(at: int) -> Any:
    """A connection that is told the trades 0 to 29, its loss, and one that is told thirty from
    `at` on as old ones.
    """
    before = [sent(number) for number in range(30)]
    after = [sent(number) for number in range(at, at + 30)]
    return feed(
        exchange({"BTC": before}) + testing.waits(5) + testing.drops(),
        exchange({"BTC": after}) + testing.waits(30) + testing.drops(),
    )


async def test_old_trades_that_reach_back_close_the_gap(autojump_clock: MockClock) -> None:
    source = coming_back(at=20)

    await lives(BTC, source, 2)

    assert numbers(source) == list(range(50))
    ((from_ms, to_ms, count),) = source.recoveries
    assert count == 20
    assert T0 <= from_ms < to_ms


async def test_old_trades_that_do_not_reach_back_leave_the_gap(autojump_clock: MockClock) -> None:
    source = coming_back(at=40)

    await lives(BTC, source, 2)

    assert source.recoveries == []
    assert numbers(source) == [*range(30), *range(40, 70)]


async def test_one_coin_that_does_not_reach_back_leaves_the_gap(
    autojump_clock: MockClock,
) -> None:
    def old(start: int) -> dict[str, Any]:
        return {
            "BTC": [sent(number) for number in range(start, start + 30)],
            "ETH": [sent(number, coin="ETH") for number in range(30)],
        }

    source = feed(
        exchange(old(0)) + testing.waits(5) + testing.drops(),
        exchange(old(31)) + testing.waits(30) + testing.drops(),
    )

    await lives(Config(["BTC", "ETH"]), source, 2)

    assert source.recoveries == []


async def test_a_coin_that_has_not_traded_keeps_no_gap_open(autojump_clock: MockClock) -> None:
    old = {"BTC": [sent(number) for number in range(30)]}
    script = exchange(old) + testing.waits(40) + testing.drops()
    source = feed(script, script)

    await lives(Config(["BTC", "ZZZ"]), source, 2)

    assert [count for _, _, count in source.recoveries] == [0]


async def test_a_coin_whose_old_trades_do_not_come_leaves_the_gap(
    autojump_clock: MockClock,
) -> None:
    old = {"BTC": [sent(number) for number in range(30)]}
    source = feed(
        exchange(old) + testing.waits(5) + testing.drops(),
        exchange() + testing.waits(40) + testing.drops(),
    )

    await lives(BTC, source, 2)

    assert source.recoveries == []


async def test_a_refused_coin_keeps_no_gap_open(autojump_clock: MockClock) -> None:
    old = {"BTC": [sent(number) for number in range(30)]}
    script = exchange(old, refuses=["ZZZ"]) + testing.waits(5) + testing.drops()
    source = feed(script, script)

    await lives(Config(["BTC", "ZZZ"]), source, 2)

    assert len(source.recoveries) == 1


# -- silence


async def test_a_quiet_connection_is_pinged_and_lives(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(exchange())
    start(nursery, Config(["ZZZ"]), source)

    await trio.sleep(3600)

    pings = [text for text in source.upstream.heard if "ping" in text]
    assert set(pings) == {'{"method":"ping"}'}
    assert 100 <= len(pings) <= 120
    assert len(source.upstream.connections) == 1
    assert source.tally.delivering
    nursery.cancel_scope.cancel()


async def test_a_ping_that_is_not_answered_within_ten_seconds_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    error = await failure(Config(["ZZZ"]), feed(exchange(pongs=False)))

    assert isinstance(error, UpstreamSilent)
    assert 39 <= trio.current_time() <= 42


async def test_where_trades_come_nobody_pings(autojump_clock: MockClock, nursery: Nursery) -> None:
    async def busy(connection: testing.Connection) -> None:
        for number in range(1000):
            await trio.sleep(10)
            await connection.say(told(later(number)))

    source = feed(exchange(pongs=False) + testing.plays(busy))
    start(nursery, BTC, source)

    await trio.sleep(600)

    assert [text for text in source.upstream.heard if "ping" in text] == []
    nursery.cancel_scope.cancel()


async def test_bitcoin_that_does_not_trade_is_a_dead_feed_though_pings_are_answered(
    autojump_clock: MockClock,
) -> None:
    error = await failure(BTC, feed(exchange()))

    assert isinstance(error, UpstreamSilent)
    assert "no trades for 120s" in str(error)
    assert 120 <= trio.current_time() <= 160


async def test_a_lost_connection_is_upstreams_failure(autojump_clock: MockClock) -> None:
    scripts = (
        testing.unreachable(),
        testing.refuses(503),
        testing.drops(),
        testing.closes(1001),
        testing.hangs(),
        testing.falls_silent(),
        testing.sends_garbage(),
    )
    for script in scripts:
        error = await failure(BTC, feed(script))

        assert isinstance(error, UpstreamError), script
