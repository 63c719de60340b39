"""The endpoints that tell of traders, through the real door."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_hyperliquid
import flowd_leaderboard
import pytest
from attrs import evolve, frozen
from flowd_leaderboard import shapes
from flowd_leaderboard.records import Computation
from quart import Blueprint
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import Batch, Sink
from flowd.stream.log import Stream
from flowd.traders import Equity, Round, Trader
from tests.plugins.hyperliquid_kit import ALICE, BOB, CAROL, T, account, position
from tests.plugins.test_traders_shapes import event, standing

CONFIG = """
[sources.traders]
kind = "hyperliquid-discovery"
coins = ["BTC"]
[transforms.positions]
kind = "hyperliquid-tracking"
input = "traders"
[transforms.leaderboard]
kind = "leaderboard"
enrich_weight_per_min = 0
[sinks.traders-api]
kind = "traders-http"
"""


@frozen
class NoConfig:
    pass


def pages(config: NoConfig, streams: Any) -> Blueprint:
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/traders")
    async def traders() -> str:
        """A page."""
        return "a page"

    return blueprint


PAGES = SimpleNamespace(flowd_sinks=lambda: [Sink("a-page", NoConfig, routes=pages)])


@asynccontextmanager
async def serving(more: str = "") -> AsyncGenerator[testing.Daemon, None]:
    """Two traders, one of whom has a rank, and what is known of them."""
    kinds = testing.registry(flowd_hyperliquid, flowd_leaderboard, PAGES)
    async with testing.daemon(CONFIG + more, registry=kinds) as daemon:
        streams = daemon.streams
        for number, address in enumerate((ALICE, BOB)):
            trader = Trader(address, "hyperliquid", T, T + number, Decimal(5), 2, ("BTC",))
            streams["traders"].append(trader, key=address)
        streams["leaderboard"].append(standing(ALICE, 0.75, win_rate=0.6), key=ALICE)
        streams["leaderboard"].append(standing(BOB, None), key=BOB)
        computed = Computation(testing.clock(), 1, 2, 0)
        streams["leaderboard.computed"].append(computed, key="leaderboard")
        streams["positions.accounts"].append(account(0, position("BTC", "1")), key=ALICE)
        streams["positions.equity"].append(Equity(ALICE, "hyperliquid", f"{T}:1000"), key=ALICE)
        streams["positions"].append(event(), id="s:1")
        yield daemon


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [ALICE, BOB]),
        ("?order=asc", [ALICE, BOB]),
        ("?sort_by=trader_address&order=desc", [BOB, ALICE]),
        ("?limit=1", [ALICE]),
        ("?min_trips=4", []),
    ],
)
async def test_the_leaderboard_is_sorted_as_asked(
    query: str, found: list[str], autojump_clock: Any
) -> None:
    async with serving() as daemon:
        answer = await daemon.get(f"/api/v1/leaderboard{query}")

    told = answer.json()
    assert [row["trader_address"] for row in told["leaderboard"]] == found
    assert (told["population"], told["age_s"]) == (1, 0)


@pytest.mark.parametrize(
    "query", ["sort_by=luck", "order=sideways", "limit=0", "limit=2000", "after=a.1", "colour=red"]
)
async def test_what_cannot_be_asked_of_it_is_a_400_that_says_what_can(
    query: str, autojump_clock: Any
) -> None:
    async with serving() as daemon:
        answer = await daemon.get(f"/api/v1/leaderboard?{query}")

    assert answer.status == 400
    assert answer.json()["error"]["parameter"] == query.partition("=")[0]


async def test_an_unchanged_leaderboard_is_a_304_until_it_is_computed_again(
    autojump_clock: Any,
) -> None:
    async with serving() as daemon:
        first = await daemon.get("/api/v1/leaderboard")
        again = await daemon.get(
            "/api/v1/leaderboard", headers={"If-None-Match": first.headers["etag"]}
        )
        later = Computation(testing.clock() + 1, 1, 2, 0)
        daemon.streams["leaderboard.computed"].append(later, key="leaderboard")
        anew = await daemon.get(
            "/api/v1/leaderboard", headers={"If-None-Match": first.headers["etag"]}
        )

    assert (first.status, again.status, anew.status) == (200, 304, 200)


async def test_traders_come_newest_first(autojump_clock: Any) -> None:
    async with serving() as daemon:
        answer = (await daemon.get("/traders?limit=1")).json()

    assert [row["address"] for row in answer["traders"]] == [BOB]


async def test_a_browser_gets_the_page_and_everybody_else_the_data(autojump_clock: Any) -> None:
    async with serving('[sinks.page]\nkind = "a-page"\n') as daemon:
        page = await daemon.get("/traders", headers={"Accept": "text/html,*/*;q=0.8"})
        data = await daemon.get("/traders", headers={"Accept": "*/*"})

    assert page.body == b"a page"
    assert data.json()["count"] == 2
    assert data.headers["vary"] == "Accept, Accept-Encoding"


async def test_without_pages_a_browser_gets_the_data(autojump_clock: Any) -> None:
    async with serving() as daemon:
        answer = await daemon.get("/traders", headers={"Accept": "text/html"})

    assert answer.json()["count"] == 2


async def test_all_that_is_known_of_one_trader_is_told_at_once(autojump_clock: Any) -> None:
    async with serving() as daemon:
        told = (await daemon.get(f"/traders/{ALICE.upper().replace('X', 'x')}")).json()

    assert (told["known"], told["tracked"], told["trader_address"]) == (True, True, ALICE)
    assert told["standing"]["trader_score"] == 0.75
    assert told["account"]["positions"][0]["coin"] == "BTC"
    assert told["equity"] == [{"time": "2026-09-21T14:13:20.000Z", "equity_usd": 1000}]
    assert [one["event_type"] for one in told["events"]] == ["FLIP"]
    assert "fills" not in told


async def test_whoever_is_not_known_is_asked_for_and_nothing_is_made_up(
    autojump_clock: Any,
) -> None:
    async with serving() as daemon:
        told = (await daemon.get(f"/traders/{CAROL}")).json()
        await wait_all_tasks_blocked()

        assert (told["known"], told["tracked"], told["account"]) == (False, False, None)
        assert daemon.feeds["positions"].tally.figures["http_requests"] >= 1


async def test_the_answer_about_a_trader_has_an_etag_of_its_own(autojump_clock: Any) -> None:
    async with serving() as daemon:
        first = await daemon.get(f"/traders/{ALICE}")
        etag = {"If-None-Match": first.headers["etag"]}
        again = await daemon.get(f"/traders/{ALICE}", headers=etag)
        daemon.streams["leaderboard"].append(standing(ALICE, 0.8), key=ALICE)
        anew = await daemon.get(f"/traders/{ALICE}", headers=etag)

    assert (again.status, anew.status) == (304, 200)


@pytest.mark.parametrize("path", [f"/traders/{ALICE}", f"/traders/{ALICE}/events"])
async def test_who_has_the_answer_already_costs_no_look_through_the_streams(
    path: str, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as daemon:
        for number in range(3000):
            daemon.streams["positions"].append(evolve(event(), address=BOB), id=f"b:{number}")
        first = await daemon.get(path)
        looked, written = Counter[str](), []
        read = Stream.read

        def counted(self: Stream[Any], *given: Any, **how: Any) -> Batch[Any]:
            batch = read(self, *given, **how)
            looked[self.name] += len(batch.records)
            return batch

        monkeypatch.setattr(Stream, "read", counted)
        monkeypatch.setattr(shapes, "event", written.append)
        again = await daemon.get(path, headers={"If-None-Match": first.headers["etag"]})
        monkeypatch.undo()
        daemon.streams["positions"].append(evolve(event(), address=BOB), id="b:more")
        others = await daemon.get(path, headers={"If-None-Match": first.headers["etag"]})
        daemon.streams["positions"].append(event(), id="s:2")
        anew = await daemon.get(path, headers={"If-None-Match": first.headers["etag"]})

    assert (first.status, again.status, others.status, anew.status) == (200, 304, 304, 200)
    assert looked["positions"] <= 2
    assert written == []
    assert len(anew.json()["events"]) == 2


@pytest.mark.parametrize("path", ["/traders/0x12", "/traders/nobody", "/traders/0x12/events"])
async def test_what_is_no_address_is_a_404_that_says_what_one_is(
    path: str, autojump_clock: Any
) -> None:
    async with serving() as daemon:
        answer = await daemon.get(path)

    assert answer.status == 404
    assert "40 hexadecimal digits" in answer.json()["error"]["allowed"]


async def test_a_traders_events_are_those_of_this_address(autojump_clock: Any) -> None:
    async with serving() as daemon:
        hers = (await daemon.get(f"/traders/{ALICE}/events")).json()
        his = (await daemon.get(f"/traders/{BOB}/events")).json()

    assert (hers["count"], his["count"]) == (1, 0)


async def test_stats_are_told_before_and_after_the_first_round(autojump_clock: Any) -> None:
    async with serving() as daemon:
        early = (await daemon.get("/api/v1/stats")).json()
        told = Round("hyperliquid", T, 3, 2, 1, T - 1000, 75.0, 1, 20, 1200)
        daemon.streams["positions.round"].append(told, key="round")
        late = (await daemon.get("/api/v1/stats")).json()

    assert early["events"] == 1
    assert (late["traders_total"], late["weight_used"]) == (3, 20)


async def test_updates_come_as_they_happen_and_go_on_from_a_position(autojump_clock: Any) -> None:
    async with serving() as daemon:
        stream = daemon.streams["positions"]
        client = daemon.connect("/ws/v1/updates")
        late = daemon.connect(f"/ws/v1/updates?after={stream.epoch}.0")
        await wait_all_tasks_blocked()
        stream.append(event(), id="s:2")
        await wait_all_tasks_blocked()
        heard, caught_up = client.messages(), late.messages()

    assert [message["type"] for message in heard] == ["connection", "trade_event"]
    assert heard[1]["data"]["event_type"] == "FLIP"
    assert [message["type"] for message in caught_up] == [
        "connection",
        "trade_event",
        "trade_event",
    ]


async def test_updates_are_filtered_by_kind_and_by_a_list_of_addresses(
    autojump_clock: Any,
) -> None:
    async with serving() as daemon:
        stream = daemon.streams["positions"]
        flips = daemon.connect(f"/ws/v1/updates?event=FLIP&address={ALICE.upper()},{BOB}")
        opens = daemon.connect("/ws/v1/updates?event=OPEN")
        await wait_all_tasks_blocked()
        stream.append(event(), id="s:2")
        await wait_all_tasks_blocked()

        assert [message["type"] for message in flips.messages()][1:] == ["trade_event"]
        assert [message["type"] for message in opens.messages()][1:] == []


async def test_what_cannot_be_followed_is_an_error_that_says_why(autojump_clock: Any) -> None:
    async with serving() as daemon:
        client = daemon.connect("/ws/v1/updates?event=NAP")
        await wait_all_tasks_blocked()

        (told,) = [m for m in client.messages() if m["type"] == "error"]
        assert "OPEN" in json.dumps(told)
