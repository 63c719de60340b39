"""OKX's channel from the dial to its end, orders that wait for their contract, and what its history
brings of a gap.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from flowd_okx import Config, liquidation_orders
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import UpstreamError, UpstreamSilent, unwrap
from tests.plugins.okx_kit import (
    BTC,
    ETH,
    INSTRUMENTS,
    INVERSE,
    ORDERS,
    bad,
    detail,
    feed,
    frame,
    good,
    item,
    okx,
    row,
    serving,
)

ALL = Config(["*"])
FRAMES = Path(__file__).parents[1] / "frames"
ACKNOWLEDGED, REFUSED, PONG, NOTICE = (
    (FRAMES / "okx_control.jsonl").read_text(encoding="utf-8").splitlines()
)
SUBSCRIBED = okx() + testing.hears(1)
SOL = row("SOL-USDT", "1")

Nursery = trio.Nursery


async def failure(found: Any, config: Config = ALL) -> UpstreamError:
    """What the source dies of."""
    try:
        await liquidation_orders(config, found)
    except Exception as error:
        why = unwrap(error)
        assert isinstance(why, UpstreamError)
        return why
    raise AssertionError("the source ended by itself")


def asked(found: Any, path: str = ORDERS) -> list[dict[str, str]]:
    """The queries of requests."""
    return [request.query for request in found.rest.requests if request.path == path]


def quantities(found: Any) -> list[str]:
    return [str(one.quantity) for one in found.values]


# -- the channel --


async def test_the_whole_market_is_asked_for_at_once(
    autojump_clock: object, nursery: Nursery
) -> None:
    found = feed(SUBSCRIBED)
    nursery.start_soon(liquidation_orders, ALL, found)

    await wait_all_tasks_blocked()

    (said,) = found.upstream.heard
    assert json.loads(said)["op"] == "subscribe"
    assert json.loads(said)["args"] == [{"channel": "liquidation-orders", "instType": "SWAP"}]
    assert found.tally.delivering


async def test_what_is_told_is_published_once_and_only_what_is_wanted(
    autojump_clock: object, nursery: Nursery
) -> None:
    orders = frame(item(detail()), item(detail(), family="ETH-USDT"))
    found = feed(SUBSCRIBED + testing.says(orders, orders))
    nursery.start_soon(liquidation_orders, Config(["ETHUSDT"]), found)

    await wait_all_tasks_blocked()

    assert [(one.symbol, str(one.quantity)) for one in found.values] == [("ETHUSDT", "1")]
    assert found.tally.duplicates == 1
    assert found.tally.dropped == {}


async def test_contracts_of_another_kind_and_garbage_are_counted(
    autojump_clock: object, nursery: Nursery
) -> None:
    garbage = ("<html>", "[]", '{"news":1}', '{"event":"subscribe"}', '{"event":"notice"}')
    inverse = frame(item(detail(), family="BTC-USD"), item(detail(side="buy")))
    found = feed(SUBSCRIBED + testing.says(*garbage, inverse))
    nursery.start_soon(liquidation_orders, ALL, found)

    await wait_all_tasks_blocked()

    assert len(found.values) == 1
    assert found.tally.figures["contradictions"] == 1
    assert found.tally.dropped == {
        "not JSON": 1,
        "not an object": 1,
        "unknown message": 3,
        "not linear USDT perpetual": 1,
    }


async def test_hours_without_a_liquidation_are_no_silence(
    autojump_clock: object, nursery: Nursery
) -> None:
    found = feed(SUBSCRIBED)
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(3 * 3600)

    assert len(found.upstream.connections) == 1
    assert found.upstream.heard[1:] == ["ping"] * (len(found.upstream.heard) - 1)
    assert found.clock() - found.ends_ms < 30_000


async def test_the_bare_pong_is_an_answer(autojump_clock: object, nursery: Nursery) -> None:
    pong = json.loads(PONG)
    found = feed(
        testing.hears(1) + testing.says(ACKNOWLEDGED) + testing.hears(1) + testing.says(pong)
    )
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(30)

    assert found.tally.dropped == {}
    assert found.ends_ms == testing.START_MS + 20_000 - 5000


async def test_who_hears_something_does_not_ping(autojump_clock: object, nursery: Nursery) -> None:
    async def chatters(connection: testing.Connection) -> None:
        for number in range(100):
            await trio.sleep(15)
            await connection.say(frame(item(detail(sz=str(number + 1)))))

    found = feed(SUBSCRIBED + testing.plays(chatters))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(1000)

    assert "ping" not in found.upstream.heard


async def test_two_pings_without_an_answer_are_a_dead_connection(autojump_clock: object) -> None:
    error = await failure(feed(testing.hears(1) + testing.says(ACKNOWLEDGED)))

    assert isinstance(error, UpstreamSilent)
    assert trio.current_time() == pytest.approx(60, abs=2)


async def test_a_subscription_that_nobody_answers_is_a_dead_connection(
    autojump_clock: object,
) -> None:
    error = await failure(feed(testing.hears(1)))

    assert isinstance(error, UpstreamSilent)
    assert "not answered within 15s" in str(error)


@pytest.mark.parametrize(
    ("script", "words", "retry_s"),
    [
        (testing.refuses(403), "refused: .*handshake with HTTP 403", 600),
        (testing.refuses(503), "HTTP 503", 0),
        (
            testing.hears(1)
            + testing.says('{"event":"error","code":"51155","msg":"Local compliance"}'),
            "refused: OKX answers 51155 Local compliance",
            600,
        ),
        (
            testing.hears(1) + testing.says(REFUSED),
            "60018 Wrong URL",
            0,
        ),
        (SUBSCRIBED + testing.waits(0.1) + testing.closes(4004, "No data"), "4004 No data", 0),
    ],
)
async def test_the_end_of_a_connection_says_why(
    autojump_clock: object, script: testing.Script, words: str, retry_s: float
) -> None:
    found = feed(script)

    with pytest.raises(UpstreamError, match=words) as raised:
        raise await failure(found)

    assert raised.value.retry_s == retry_s


async def test_a_symbol_that_is_not_listed_is_told(
    autojump_clock: object, nursery: Nursery
) -> None:
    found = feed(SUBSCRIBED)
    nursery.start_soon(liquidation_orders, Config(["BTCUSDT", "NOPEUSDT"]), found)

    await wait_all_tasks_blocked()

    assert "does not list NOPEUSDT: take it out" in str(found.tally.problem)


async def test_an_order_that_is_told_minutes_late_is_no_lag_of_ours(
    autojump_clock: object, nursery: Nursery
) -> None:
    now_ms = testing.START_MS + 100_000
    late, fresh = detail(ts=str(now_ms - 480_000)), detail(ts=str(now_ms - 300), sz="2")
    script = SUBSCRIBED + testing.waits(100) + testing.says(frame(item(late)))
    found = feed(script + testing.waits(5) + testing.says(frame(item(fresh))))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(101)
    after_late = found.reach.late_ms(found.clock())
    await trio.sleep(5)

    assert after_late is None
    assert quantities(found) == ["0.1", "0.02"]


# -- the change-over --


async def test_a_notice_brings_the_next_connection_before_the_old_one_ends(
    autojump_clock: object, nursery: Nursery
) -> None:
    first, second = frame(item(detail(sz="1"))), frame(item(detail(sz="2")))
    old = SUBSCRIBED + testing.says(NOTICE) + testing.waits(1) + testing.says(first)
    found = feed(old, SUBSCRIBED + testing.says(first, second))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(120)

    assert len(found.upstream.connections) == 2
    assert quantities(found) == ["0.01", "0.02"]
    assert found.tally.open == 1
    assert found.tally.delivering
    assert asked(found) == []


async def test_a_change_over_that_fails_is_tried_again_while_the_old_one_lives(
    autojump_clock: object, nursery: Nursery
) -> None:
    old = SUBSCRIBED + testing.says(NOTICE)
    found = feed(old, testing.refuses(503), testing.unreachable(), SUBSCRIBED)
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(60)

    assert len(found.upstream.connections) == 4
    assert found.tally.open == 1
    assert found.tally.delivering


async def test_an_old_connection_that_closes_before_there_is_another_ends_the_source(
    autojump_clock: object,
) -> None:
    old = SUBSCRIBED + testing.says(NOTICE) + testing.waits(3) + testing.closes(4014)

    error = await failure(feed(old, testing.unreachable()))

    assert "4014" in str(error)


# -- contracts that nobody told of --


async def test_an_order_waits_until_its_contract_is_known(
    autojump_clock: object, nursery: Nursery
) -> None:
    lists = testing.turns(good(BTC), good(BTC, SOL))
    script = SUBSCRIBED + testing.waits(61) + testing.says(frame(item(detail(), family="SOL-USDT")))
    found = feed(script, rest=serving(listed=lists))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(62)

    assert [(one.symbol, str(one.quantity)) for one in found.values] == [("SOLUSDT", "10")]
    assert found.tally.dropped == {}


async def test_an_order_of_a_contract_that_stays_unknown_is_dropped_and_counted(
    autojump_clock: object, nursery: Nursery
) -> None:
    unknown = frame(item(detail(), family="IOST-USDT"))
    script = SUBSCRIBED + testing.waits(61) + testing.says(unknown, frame(item(detail())), unknown)
    found = feed(script)
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(70.9)
    before = dict(found.tally.dropped)
    await trio.sleep(0.2)

    assert before == {}
    assert found.tally.dropped == {"unknown instrument": 2}
    assert quantities(found) == ["0.1"]
    assert len(asked(found, INSTRUMENTS)) == 2


async def test_unknown_contracts_ask_for_the_list_once_a_minute(
    autojump_clock: object, nursery: Nursery
) -> None:
    async def chatters(connection: testing.Connection) -> None:
        while True:
            await trio.sleep(1)
            await connection.say(frame(item(detail(), family="IOST-USDT")))

    found = feed(SUBSCRIBED + testing.plays(chatters))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(600.5)

    assert 8 <= len(asked(found, INSTRUMENTS)) <= 11
    assert found.tally.dropped["unknown instrument"] == 590


async def test_orders_that_wait_are_bounded(autojump_clock: object, nursery: Nursery) -> None:
    many = [detail(sz=str(number + 1)) for number in range(1500)]
    found = feed(SUBSCRIBED + testing.says(frame(item(*many, family="IOST-USDT"))))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(5)

    assert found.tally.dropped == {"unknown instrument": 500}


async def test_a_connection_that_is_dialled_again_needs_no_list(
    autojump_clock: object, nursery: Nursery
) -> None:
    lists = testing.turns(good(BTC), OSError("nobody there"))
    ends = SUBSCRIBED + testing.waits(1) + testing.drops()
    found = feed(ends, SUBSCRIBED + testing.says(frame(item(detail()))), rest=serving(listed=lists))

    await failure(found)
    nursery.start_soon(liquidation_orders, ALL, found)
    await trio.sleep(2 * 86_400)

    assert quantities(found) == ["0.1"]
    assert found.tally.dropped["no list of instruments"] > 10


async def test_a_list_that_is_a_week_old_is_not_believed(autojump_clock: object) -> None:
    lists = testing.turns(good(BTC), OSError("nobody there"))
    ends = SUBSCRIBED + testing.waits(1) + testing.drops()
    found = feed(ends, rest=serving(listed=lists))

    await failure(found)
    await trio.sleep(8 * 86_400)
    error = await failure(found)

    assert "nobody there" in str(error)


# -- the history --


def at(second: float, **changes: Any) -> dict[str, Any]:
    """An order that happened so many seconds after the test's begin."""
    return detail(ts=str(testing.START_MS + round(second * 1000)), **changes)


def history(*orders: dict[str, Any], family: str = "BTC-USDT") -> Any:
    """A history that tells of these, newest first, page by page."""

    def answer(request: testing.Request) -> Any:
        assert request.query["state"] == "filled"
        assert request.query["instType"] == "SWAP"
        if request.query["instFamily"] != family:
            return good()
        before = int(request.query.get("after", 10**14))
        rows = sorted(orders, key=lambda one: -int(one["ts"]))
        older = [one for one in rows if int(one["ts"]) < before]
        return good(item(*older[: int(request.query["limit"])], family=family))

    return answer


async def missed(found: Any, nursery: Nursery, gap_s: float = 100) -> None:
    """Have the source run, fail after a second, and run again after a gap."""
    await failure(found)
    await trio.sleep(gap_s)
    nursery.start_soon(liquidation_orders, ALL, found)
    await trio.sleep(1)


ONE_SECOND = (
    SUBSCRIBED + testing.says(frame(item(at(0, sz="5")))) + testing.waits(1) + testing.drops()
)


async def test_what_was_missed_is_fetched_and_told_as_recovered(
    autojump_clock: object, nursery: Nursery
) -> None:
    past = history(at(-50), at(0, sz="5"), at(40, sz="7"), at(60, sz="8"), at(110, sz="9"))
    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(past))

    await missed(found, nursery)

    assert quantities(found) == ["0.05", "0.07", "0.08"]
    ((from_ms, to_ms, count),) = found.recoveries
    assert (from_ms, to_ms, count) == (testing.START_MS, pytest.approx(found.clock(), abs=1500), 2)
    assert [query["instFamily"] for query in asked(found)] == ["BTC-USDT", "ETH-USDT"]


async def test_a_history_that_is_behind_is_asked_again_after_ten_minutes_and_two_hours(
    autojump_clock: object, nursery: Nursery
) -> None:
    stale = good(item(at(-50)))
    later = history(at(40, sz="7"), at(60, sz="8"), at(120, sz="9"))
    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(testing.turns(stale, stale, later)))

    await missed(found, nursery)
    at_once = quantities(found), list(found.recoveries)
    await trio.sleep(610)
    after_ten = quantities(found), [count for _, _, count in found.recoveries]
    await trio.sleep(3 * 3600)

    assert at_once == (["0.05"], [])
    assert after_ten == (["0.05", "0.07", "0.08"], [2])
    assert len(found.recoveries) == 1
    assert len(asked(found)) == 6


async def test_a_quiet_history_is_believed_in_the_end(
    autojump_clock: object, nursery: Nursery
) -> None:
    found = feed(ONE_SECOND, SUBSCRIBED)

    await missed(found, nursery)
    before = list(found.recoveries)
    await trio.sleep(7300)

    assert before == []
    assert [count for _, _, count in found.recoveries] == [0]


async def test_a_gap_is_remembered_over_a_further_one(
    autojump_clock: object, nursery: Nursery
) -> None:
    past = history(at(40, sz="7"), at(150, sz="8"), at(240, sz="9"))
    ends = SUBSCRIBED + testing.waits(1) + testing.drops()
    found = feed(ONE_SECOND, ends, SUBSCRIBED, rest=serving(testing.turns(testing.SILENT, past)))

    await failure(found)
    await trio.sleep(100)
    await failure(found)
    await trio.sleep(100)
    nursery.start_soon(liquidation_orders, ALL, found)
    await trio.sleep(7400)

    assert quantities(found) == ["0.05", "0.07", "0.08"]
    assert sum(count for _, _, count in found.recoveries) == 2


async def test_a_long_gap_is_fetched_page_by_page(autojump_clock: object, nursery: Nursery) -> None:
    orders = [at(5 + number / 10, sz=str(number + 1)) for number in range(450)]
    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(history(*orders, at(120))))

    await missed(found, nursery)
    await trio.sleep(10)

    assert len(found.values) == 451
    assert [count for _, _, count in found.recoveries] == [450]


async def test_a_history_that_does_not_reach_back_says_from_when_on_it_is_whole(
    autojump_clock: object, nursery: Nursery
) -> None:
    orders = [at(50 + number / 10, sz=str(number + 1)) for number in range(100)]

    def answer(request: testing.Request) -> Any:
        more = "after" in request.query or request.query["instFamily"] != "BTC-USDT"
        return good() if more else good(item(at(120), *reversed(orders[1:])))

    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(answer))

    await missed(found, nursery)

    ((from_ms, _, count),) = found.recoveries
    assert count == 99
    assert from_ms == testing.START_MS + 50_100


@pytest.mark.parametrize("answer", [testing.Reply(404), bad("51000"), bad("51155")])
async def test_a_history_that_is_no_more_ends_backfilling_and_nothing_else(
    autojump_clock: object, nursery: Nursery, answer: Any
) -> None:
    ends = SUBSCRIBED + testing.says(frame(item(at(110)))) + testing.waits(10_000)
    found = feed(ONE_SECOND, ends, rest=serving(answer))

    await missed(found, nursery)
    await trio.sleep(8000)

    assert found.tally.dropped == {"no history": 1}
    assert len(asked(found)) == 1
    assert found.recoveries == []
    assert quantities(found) == ["0.05", "0.1"]
    assert found.tally.delivering


async def test_a_family_that_is_not_told_keeps_the_gap_open(
    autojump_clock: object, nursery: Nursery
) -> None:
    def answer(request: testing.Request) -> Any:
        if request.query["instFamily"] == "ETH-USDT":
            return testing.Reply(502)
        return good(item(at(40, sz="7"), at(120)))

    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(answer))

    await missed(found, nursery)
    await trio.sleep(8000)

    assert quantities(found) == ["0.05", "0.07"]
    assert found.recoveries == []
    assert found.tally.dropped == {"backfill failed": 3}


async def test_who_is_asked_too_much_is_asked_later(
    autojump_clock: object, nursery: Nursery
) -> None:
    limited = testing.turns(bad("50011"), testing.Reply(429), history(at(40, sz="7"), at(120)))
    found = feed(ONE_SECOND, SUBSCRIBED, rest=serving(limited))

    await missed(found, nursery)
    await trio.sleep(60)

    assert quantities(found) == ["0.05", "0.07"]
    assert [count for _, _, count in found.recoveries] == [1]


async def test_the_first_start_missed_nothing(autojump_clock: object, nursery: Nursery) -> None:
    found = feed(SUBSCRIBED, rest=serving(listed=good(INVERSE, BTC, ETH)))
    nursery.start_soon(liquidation_orders, ALL, found)

    await trio.sleep(3 * 3600)

    assert asked(found) == []
