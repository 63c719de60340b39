"""Tracking: visits in turn within the budget, whatever the venue answers."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import trio
from attrs import frozen
from flowd_hyperliquid.tracking import Config, tracking
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Fill, LiquidationMap
from flowd.plugin import Outage, Seconds, StreamName
from flowd.traders import Account, PositionEvent, Round, Trader
from tests.plugins.hyperliquid_kit import ALICE, BOB, CAROL, T, fill, state, trader
from tests.plugins.hyperliquid_week import MARKETS, week


@frozen
class Venue:
    """Hyperliquid's REST service, as a test tells it to be."""

    holds: dict[str, dict[str, str]]
    answers: dict[str, list[Any]]
    asked: list[str]

    def __call__(self, request: Any) -> Any:
        if request.json["type"] == "metaAndAssetCtxs":
            return MARKETS
        address = request.json["user"]
        self.asked.append(address)
        waiting = self.answers.get(address)
        if waiting:
            return waiting.pop(0)
        return state(testing.clock(), **self.holds.get(address, {}))


@frozen
class Scene:
    venue: Venue
    feed: testing.ScriptedFeed[PositionEvent]
    traders: Any
    fills: Any
    run: Callable[[], Any]

    def table(self, name: str) -> list[Any]:
        return [record.value for record in self.feed.tables[name].after(0)]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(value.symbol, value.event) for value in self.feed.values]


def scene(*addresses: str, fills: bool = False, **settings: Any) -> Scene:
    venue = Venue({}, {}, [])
    feed = testing.feed(record=PositionEvent, name="positions", rest=testing.rest({"/info": venue}))
    traders = testing.stream("traders", record=Trader)
    for number, address in enumerate(addresses):
        traders.append(trader(address, T + number), key=address)
    told = testing.stream("all-fills", record=Fill)
    outages = testing.stream("outages", record=Outage)
    given = [traders, outages, *([told] if fills else [])]
    config = Config(
        StreamName("traders"),
        info_url="http://venue/info",
        **({"every": Seconds(60), "map_every": Seconds(3600)} | settings),
    )

    async def run() -> None:
        await tracking(config, testing.streams(*given), feed)

    return Scene(venue, feed, traders, told, run)


async def test_traders_are_visited_in_the_order_of_their_discovery(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(CAROL, ALICE, BOB, batch_size=1)

    nursery.start_soon(one.run)
    await trio.sleep(190)

    assert one.venue.asked == [CAROL, ALICE, BOB, CAROL]


async def test_a_change_between_two_visits_is_an_event(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE)
    one.venue.holds[ALICE] = {"BTC": "1"}
    nursery.start_soon(one.run)
    await trio.sleep(30)

    one.venue.holds[ALICE] = {"BTC": "-2", "ETH": "3"}
    await trio.sleep(60)

    assert one.kinds == [("BTC", "FLIP"), ("ETH", "OPEN")]
    (account,) = one.table("accounts")
    assert [held.symbol for held in account.positions] == ["BTC", "ETH"]


async def test_somebody_new_is_visited_before_who_was_visited_already(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB, batch_size=1)
    nursery.start_soon(one.run)
    await trio.sleep(130)

    one.traders.append(trader(CAROL), key=CAROL)
    await trio.sleep(60)

    assert one.venue.asked == [ALICE, BOB, ALICE, CAROL]


@pytest.mark.parametrize(
    "wrong",
    [
        testing.Reply(500, "<html>502 Bad Gateway</html>"),
        testing.Reply(422, "Failed to deserialize the JSON body into the target type"),
        "<html>maintenance</html>",
        '{"marginSummary":',
        "null",
        ConnectionRefusedError("nobody there"),
    ],
    ids=str,
)
async def test_a_visit_that_fails_costs_its_turn_and_no_state(
    wrong: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB)
    one.venue.holds[ALICE] = {"BTC": "1"}
    nursery.start_soon(one.run)
    await trio.sleep(30)

    one.venue.answers[ALICE] = [wrong]
    one.venue.holds[ALICE] = {"BTC": "2"}
    await trio.sleep(60)
    failed = list(one.kinds)
    await trio.sleep(60)

    assert failed == []
    assert one.kinds == [("BTC", "INCREASE")]
    assert one.venue.asked.count(BOB) == 3
    assert sum(one.feed.tally.dropped.values()) == 1


async def test_an_answer_that_is_too_large_is_no_state(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE)
    one.venue.answers[ALICE] = [b" " * 3_000_000 + b"{}"]

    nursery.start_soon(one.run)
    await trio.sleep(70)

    assert one.venue.asked == [ALICE, ALICE]
    assert len(one.table("accounts")) == 1


async def test_a_service_that_fails_three_times_in_a_row_is_a_problem_until_it_answers(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, batch_size=1)
    one.venue.answers[ALICE] = [testing.Reply(500, "Oh")] * 2 + ["<html>maintenance</html>"]

    nursery.start_soon(one.run)
    problems = []
    for _ in range(4):
        await trio.sleep(60)
        problems.append(one.feed.tally.problem)

    assert problems[:2] == [None, None]
    assert (problems[2] or "").startswith("Hyperliquid's /info: no account state: ")
    assert (problems[2] or "").endswith("see whether info_url is that of Hyperliquid's /info")
    assert problems[3] is None


async def test_a_refusal_is_a_problem_at_once(autojump_clock: Any, nursery: trio.Nursery) -> None:
    one = scene(ALICE)
    one.venue.answers[ALICE] = [testing.Reply(429, "null")]

    nursery.start_soon(one.run)
    await trio.sleep(5)
    problem = one.feed.tally.problem
    await trio.sleep(10)

    assert problem is not None
    assert "asked too much (HTTP 429); again in 10s; it goes on by itself" in problem
    assert one.feed.tally.problem is None


async def test_over_the_limit_the_turn_stays_and_nobody_asks_meanwhile(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB)
    storm = testing.Reply(429, "null")
    one.venue.answers[ALICE] = [storm, storm, storm]

    nursery.start_soon(one.run)
    await trio.sleep(55)
    early = list(one.venue.asked)
    await trio.sleep(300)

    assert early.count(ALICE) <= 3
    assert {account.address for account in one.table("accounts")} == {ALICE, BOB}
    assert not one.feed.tally.dropped


async def test_a_restart_goes_on_with_the_queue_and_tells_no_event_twice(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB, CAROL, batch_size=1)
    one.venue.holds[ALICE] = {"BTC": "1"}
    with trio.move_on_after(70):
        await one.run()
    one.venue.holds[ALICE] = {"BTC": "2"}

    with trio.move_on_after(190):
        await one.run()

    assert one.venue.asked == [ALICE, BOB, CAROL, ALICE, BOB, CAROL]
    assert one.kinds == [("BTC", "INCREASE")]


async def test_whoever_is_looked_at_is_visited_at_once_though_nobody_saw_it_trade(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE)
    nursery.start_soon(one.run)
    await trio.sleep(30)

    one.feed.ask(BOB.upper().replace("0X", "0x"))
    one.feed.ask("nonsense")
    await trio.sleep(1)

    assert one.venue.asked == [ALICE, BOB]
    assert one.feed.tally.dropped == {"asked for what is no address": 1}


async def test_who_was_visited_just_now_is_not_visited_again_for_who_looks(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE)
    nursery.start_soon(one.run)
    await trio.sleep(5)

    one.feed.ask(ALICE)
    await trio.sleep(1)

    assert one.venue.asked == [ALICE]


async def test_who_was_dropped_from_the_traders_is_forgotten(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB)
    nursery.start_soon(one.run)
    await trio.sleep(30)

    one.traders.forget(ALICE)
    await trio.sleep(60)

    assert [account.address for account in one.table("accounts")] == [BOB]


async def test_the_round_says_how_far_it_has_come(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, BOB, CAROL, batch_size=2)

    nursery.start_soon(one.run)
    await trio.sleep(30)

    (told,) = one.table("round")
    assert isinstance(told, Round)
    assert (told.traders, told.tracked, told.waiting) == (3, 2, 1)
    assert told.round_s == 120
    assert one.feed.tally.figures["never_tracked"] == 1


async def test_the_map_shows_where_positions_would_be_liquidated(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, map_every=Seconds(60))
    one.venue.holds[ALICE] = {"BTC": "2"}

    nursery.start_soon(one.run)
    await trio.sleep(90)

    (told,) = one.table("map")
    assert isinstance(told, LiquidationMap)
    assert (told.symbol, told.mark_price, told.accounts) == ("BTC", Decimal(100), 1)
    assert [(level.price, level.long) for level in told.levels] == [(Decimal(80), Decimal(200))]
    assert told.coverage == 0.001


async def test_without_markets_the_map_is_drawn_without_a_coverage(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, map_every=Seconds(60))
    one.venue.holds[ALICE] = {"XYZ": "2"}

    nursery.start_soon(one.run)
    await trio.sleep(90)

    (told,) = one.table("map")
    assert (told.symbol, told.coverage) == ("XYZ", None)


async def test_fills_tell_events_while_they_are_delivered(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = scene(ALICE, fills=True)
    nursery.start_soon(one.run)
    await trio.sleep(30)
    seconds = (testing.clock() - T) / 1000 + 1

    one.fills.append(fill(seconds, "BUY", "2"))
    await wait_all_tasks_blocked()

    assert one.kinds == [("BTC", "OPEN")]
    (account,) = one.table("accounts")
    assert isinstance(account, Account)
    assert not one.feed.values[0].sampled


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 1000}, "take at most"),
        ({"every": Seconds(1)}, "take at most"),
        ({"info_url": "api.hyperliquid.xyz"}, "https://"),
        ({"weight_per_minute": 5000}, "1 to 1200"),
        ({"oi_sides": 3}, "1 or 2"),
        ({"span_pct": 0}, "1 to 100"),
        ({"min_event_usd": -1}, "0 (off) or more"),
    ],
)
def test_a_mistake_in_the_settings_names_its_remedy(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Config(StreamName("traders"), **settings)

    assert remedy in str(caught.value)


def test_the_seeds_pace_fits_the_budget() -> None:
    config = Config(StreamName("traders"))

    assert (config.batch_size, config.every) == (50, 75.0)
    assert json.dumps(MARKETS)


# -- for a long time


async def test_each_trader_is_visited_within_the_stated_round_and_budget(
    autojump_clock: Any,
) -> None:
    """A quarter of an hour, in which each is visited three times; `make week` is the whole."""
    feed, ledger = await week(1000, hours=0.25)

    (told,) = [record.value for record in feed.tables["round"].after(0)]
    assert (told.traders, told.waiting, told.round_s) == (1000, 0, 4 * 75.0)
    assert max(ledger.rounds) <= told.round_s + 75
    assert ledger.most_in_a_minute() <= 600
    assert len(ledger.visited) == 1000


async def test_in_storms_nobody_is_lost_and_the_budget_is_kept(autojump_clock: Any) -> None:
    feed, ledger = await week(300, hours=0.25, storms=True)

    (told,) = [record.value for record in feed.tables["round"].after(0)]
    assert (told.traders, told.waiting) == (300, 0)
    assert len(feed.tables["accounts"]) == 300
    assert ledger.most_in_a_minute() <= 600
    assert feed.values == []
    assert {"visit failed", "state makes no sense"} <= feed.tally.dropped.keys()


async def test_a_crash_in_the_middle_of_a_batch_loses_no_trader_and_repeats_no_event(
    autojump_clock: Any,
) -> None:
    one = scene(*(f"0x{number:040x}" for number in range(1, 21)), batch_size=10)
    for number in range(1, 21):
        one.venue.holds[f"0x{number:040x}"] = {"BTC": "1"}
    with trio.move_on_after(130):
        await one.run()
    for number in range(1, 21):
        one.venue.holds[f"0x{number:040x}"] = {"BTC": "3"}

    for steps in range(1, 40):
        # Each life is a little longer than the one before, and ends wherever it is.
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.run)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                life.cancel()
    with trio.move_on_after(130):
        await one.run()

    assert len(one.feed.values) == 20
    assert {value.event for value in one.feed.values} == {"INCREASE"}
    assert len({value.address for value in one.feed.values}) == 20
