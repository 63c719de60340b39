"""The simulated Hydromancer as its clients see it, and flowd's source as one of them: real frames,
memory streams, a mock clock.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult

import flowd_hydromancer
import pytest
import trio
from flowd_hydromancer.frames import decode
from flowd_hydromancer.parse import fill
from flowd_simulator.chain.coins import COINS
from flowd_simulator.chain.positions import Position
from flowd_simulator.chain.rows import Row
from flowd_simulator.chain.tape import Tape
from flowd_simulator.command import simulate
from flowd_simulator.faults import Faults
from flowd_simulator.hydromancer import Hydromancer, Terms
from flowd_simulator.hydromancer.garbage import GARBAGE
from flowd_simulator.hydromancer.history import place
from flowd_simulator.session import Limits
from trio.testing import MockClock
from trio_websocket import (
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from flowd import testing
from flowd.market import EXACT, Fill
from flowd.plugin import Secret, Unusable
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.upstream.feed import Feed
from tests.plugins.exchange_client import connect, end_of, hear, hear_for, texts_for
from tests.plugins.hydromancer_kit import MAKER, WHALE, counterparty, liquidated, row

Nursery = trio.Nursery
Json = dict[str, Any]
Sent = list[tuple[str, Json]]
"""Rows as the service sends them, each an address and a fill."""

KEY = "demo-key"
ALL = {"type": "subscribe", "subscription": {"type": "allFills"}}
LIQUIDATIONS = {"type": "subscribe", "subscription": {"type": "liquidationFills"}}
START_MS = testing.START_MS


def make(**options: Any) -> Hydromancer:
    return Hydromancer(7, testing.clock, **options)


async def dial(
    service: Hydromancer, nursery: Nursery, target: str = f"/ws?token={KEY}"
) -> WebSocketConnection:
    return await connect(service.serve_websocket, nursery, target)


async def say(connection: WebSocketConnection, message: object) -> None:
    await connection.send_message(json.dumps(message))


async def follow(
    service: Hydromancer, nursery: Nursery, *subscriptions: Json, target: str = f"/ws?token={KEY}"
) -> WebSocketConnection:
    """A client that is welcomed and subscribed."""
    client = await dial(service, nursery, target)
    assert (await hear(client))["type"] == "connected"
    for subscription in subscriptions or (ALL,):
        await say(client, subscription)
        assert (await hear(client))["type"] == "subscriptionUpdate"
    return client


def pair(sent: list[Any]) -> tuple[str, Json]:
    return sent[0], sent[1]


# -- coming in --


async def test_a_good_key_is_welcomed_with_a_session(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await dial(make(), nursery)

    welcome = await hear(client)

    assert welcome["type"] == "connected"
    assert len(welcome["sessionId"]) == 32
    assert welcome["clientId"]
    assert "liveFormat" not in welcome


async def test_a_wrong_key_is_401(autojump_clock: MockClock, nursery: Nursery) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as inner:
            await dial(make(), inner, "/ws?token=wrong")

    (rejected,) = caught.value.exceptions
    assert isinstance(rejected, ConnectionRejected)
    assert rejected.status_code == 401


async def test_a_wrong_key_can_be_told_in_a_message(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await dial(make(terms=Terms(in_band=True)), nursery, "/ws?token=wrong")

    assert await hear(client) == {"type": "error", "message": "authentication failed"}
    assert await end_of(client) == (1008, "authentication failed")


@pytest.mark.parametrize(
    ("service", "target", "status"),
    [(make(), "/other", 404), (make(), "/", 404)],
)
async def test_there_is_one_path(
    service: Hydromancer, target: str, status: int, autojump_clock: MockClock
) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as inner:
            await dial(service, inner, target)

    assert getattr(caught.value.exceptions[0], "status_code", None) == status


async def test_the_old_login_is_a_message(autojump_clock: MockClock, nursery: Nursery) -> None:
    client = await dial(make(), nursery, "/ws")

    await say(client, {"type": "auth", "apiKey": KEY})

    assert (await hear(client))["type"] == "connected"


async def test_the_old_login_has_ten_seconds(autojump_clock: MockClock, nursery: Nursery) -> None:
    client = await dial(make(), nursery, "/ws")

    assert await hear(client, 11) == {"type": "error", "message": "authentication timeout"}
    assert trio.current_time() == pytest.approx(10)
    assert (await end_of(client))[0] == 1008


async def test_the_old_login_refuses_a_wrong_key(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await dial(make(), nursery, "/ws")

    await say(client, {"type": "auth", "apiKey": "wrong"})

    assert (await hear(client))["message"] == "authentication failed"
    assert (await end_of(client))[0] == 1008


async def test_connections_of_a_key_are_limited(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(connections=1))
    await follow(service, nursery)

    second = await dial(service, nursery)

    assert (await hear(second))["message"] == "connection limit reached"
    assert await end_of(second) == (1008, "connection limit exceeded")


# -- subscribing --


@pytest.mark.parametrize("word", ["type", "method"])
async def test_a_subscription_is_acknowledged_and_unsubscribing_too(
    word: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await dial(make(), nursery)
    await hear(client)

    await say(client, {word: "subscribe", "subscription": {"type": "allFills", "dex": "main"}})
    begun = await hear(client)
    await say(client, {word: "unsubscribe", "subscription": {"type": "allFills", "dex": "main"}})
    ended = await hear(client)

    assert (begun["subscribed"], begun["failed"]) == (["allFills"], [])
    assert ended["unsubscribed"] == ["allFills"]


async def test_acknowledgements_come_as_objects_or_not_at_all(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(acknowledge="objects"))
    client = await dial(service, nursery)
    await hear(client)

    await say(client, ALL)
    objects = await hear(client)
    service.terms.acknowledge = "never"
    await say(client, LIQUIDATIONS)

    assert objects["subscribed"] == [{"type": "allFills"}]
    assert await hear_for(client, 5) == []


@pytest.mark.parametrize(
    ("terms", "subscription", "words"),
    [
        (Terms(), {"type": "brandNew"}, "unknown subscription type"),
        (Terms(), 5, "unknown subscription type"),
        (Terms(coins=1), {"type": "allFills", "coins": ["BTC", "ETH"]}, "too many coins"),
        (Terms(all_fills=False), {"type": "allFills"}, "requires permission ws:allFills"),
        (Terms(subscriptions=0), {"type": "allFills"}, "total subscription limit reached"),
        (
            Terms(liquidation_subscriptions=0),
            {"type": "liquidationFills"},
            "subscription limit reached for liquidationFills",
        ),
        (
            Terms(refused={"allFills": "allFills is not available for tier Starter"}),
            {"type": "allFills"},
            "is not available for tier",
        ),
    ],
)
async def test_a_subscription_can_be_refused_in_each_way(
    terms: Terms, subscription: Any, words: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=terms)
    client = await dial(service, nursery)
    await hear(client)

    await say(client, {"type": "subscribe", "subscription": subscription})

    heard = await hear_for(client, 2)
    assert words in heard[-1]["message"]
    assert all(one.get("failed") == [subscription["type"]] for one in heard[:-1])
    service.block(pair(row(1)))
    assert await hear_for(client, 2) == []


async def test_a_key_has_two_subscriptions_of_liquidations_and_no_more(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    first = await follow(service, nursery, LIQUIDATIONS)
    await follow(service, nursery, LIQUIDATIONS)

    third = await dial(service, nursery)
    await hear(third)
    await say(third, LIQUIDATIONS)
    refused = await hear_for(third, 1)
    await first.aclose()
    await say(third, LIQUIDATIONS)
    granted = await hear(third)

    assert refused[0]["failed"] == ["liquidationFills"]
    assert refused[1]["code"] == "subscription_limit_exceeded"
    assert granted["subscribed"] == ["liquidationFills"]


async def test_messages_of_a_client_are_limited_by_the_minute(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    terms = Terms(messages_per_min=3, ping_every_s=1000)
    client = await follow(make(terms=terms), nursery)

    for _ in range(4):
        await say(client, {"type": "ping"})
    heard = [await hear(client) for _ in range(4)]
    await trio.sleep(61)
    await say(client, {"method": "ping"})

    assert [one["type"] for one in heard] == ["pong", "pong", "error", "error"]
    assert heard[-1]["message"] == "message rate limit exceeded"
    assert await hear(client) == {"type": "pong"}


@pytest.mark.parametrize("text", ["{", "5", '{"type":"fly"}', '{"hello":1}'])
async def test_nonsense_is_answered_with_an_error(
    text: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await follow(make(), nursery)

    await client.send_message(text)

    assert (await hear(client))["type"] == "error"


# -- blocks --


async def test_a_block_is_one_message_with_type_channel_number_and_cursor(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    client = await follow(service, nursery)

    first = service.block(pair(row(1)), pair(row(1, MAKER, side="A")))
    second = service.block(pair(row(2)))
    heard = [await hear(client), await hear(client)]

    assert [(one["type"], one["channel"], one["seq"]) for one in heard] == [
        ("allFills", "allFills", 1),
        ("allFills", "allFills", 2),
    ]
    assert [one["cursor"] for one in heard] == [first.cursor, second.cursor]
    assert heard[0]["fills"] == [row(1), row(1, MAKER, side="A")]


async def test_each_subscription_gets_its_rows_and_its_own_numbers(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    def only(**filters: Any) -> Json:
        return {"type": "subscribe", "subscription": {"type": "allFills", **filters}}

    service = make()
    every = (row(1), row(2, coin="xyz:TSLA"), row(3, coin="#90"), row(4, coin="@107"))
    wishes = (
        only(dex="main"),
        only(dex="xyz"),
        only(coins=["#90", "@107"]),
        only(coin="BTC"),
        only(outcomeMarkets="only"),
        only(outcomeMarkets="exclude"),
        LIQUIDATIONS,
    )
    clients = [await follow(service, nursery, wish) for wish in wishes]

    service.block(*map(pair, every))
    service.block(pair(liquidated(9)), pair(counterparty(9)), pair(row(8, coin="ETH")))

    heard = [await hear_for(client, 1) for client in clients]
    coins = [[[one[1]["coin"] for one in told["fills"]] for told in each] for each in heard]
    assert coins == [
        [["BTC"], ["BTC", "BTC", "ETH"]],
        [["xyz:TSLA"]],
        [["#90", "@107"]],
        [["BTC"], ["BTC", "BTC"]],
        [["#90"]],
        [["BTC", "xyz:TSLA", "@107"], ["BTC", "BTC", "ETH"]],
        [["BTC", "BTC"]],
    ]
    assert [told["seq"] for told in heard[0]] == [1, 2]
    assert heard[6][0]["seq"] == 1


async def test_liquidations_can_come_without_their_counterparties(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(both_sides=False))
    client = await follow(service, nursery, LIQUIDATIONS)

    service.block(pair(liquidated(9)), pair(counterparty(9)))

    assert (await hear(client))["fills"] == [liquidated(9)]


async def test_large_blocks_come_in_parts_if_that_was_asked_for(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(chunk_items=2))
    whole = await follow(service, nursery)
    target = f"/ws?token={KEY}&liveFormat=chunked-v1"
    parted = await dial(service, nursery, target)
    welcome = await hear(parted)
    await say(parted, ALL)
    await hear(parted)

    service.block(*(pair(row(n)) for n in range(5)))
    service.block(pair(row(9)))

    assert welcome["liveFormat"] == "chunked-v1"
    assert [len(one["fills"]) for one in await hear_for(whole, 1)] == [5, 1]
    heard = await hear_for(parted, 1)
    parts = [(one["seq"], one.get("chunk"), one.get("totalChunks")) for one in heard]
    assert parts == [(1, 1, 3), (2, 2, 3), (3, 3, 3), (4, None, None)]
    assert len({one["batchId"] for one in heard[:3]}) == 1


# -- life --


async def test_the_service_pings_and_leaves_who_does_not_answer(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(ping_every_s=20, pong_within_s=5))
    good, bad = await follow(service, nursery), await follow(service, nursery)

    for _ in range(3):
        assert await hear(good, 30) == {"type": "ping"}
        await say(good, {"type": "pong"})

    assert await end_of(bad, 30) == (1008, "ping timeout")
    assert len(service.clients) == 1


async def test_it_drops_stalls_loses_and_says_errors_on_demand(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    client = await follow(service, nursery)

    service.lose(1)
    service.block(pair(row(1)))
    service.block(pair(row(2)))
    after_loss = await hear_for(client, 1)
    service.stall()
    service.block(pair(row(3)))
    while_stalled = await hear_for(client, 1)
    service.resume()
    service.error("rate limit exceeded", "allFills")
    told = await hear(client)
    service.drop_all()

    assert [one["seq"] for one in after_loss] == [2]
    assert while_stalled == []
    assert told == {
        "type": "error",
        "message": "rate limit exceeded",
        "subscription": "allFills",
    }
    assert (await end_of(client))[0] == 1006


async def test_faults_of_all_kinds_leave_the_good_frames_whole(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(faults=Faults(garbage=0.5, duplicate=0.3, slow_s=2.0))
    client = await follow(service, nursery)

    for number in range(200):
        service.block(pair(row(number)))

    texts = await texts_for(client, 5)
    good = [one for one in map(sound, texts) if one]
    assert {fill.time_ms for rows in good for fill in rows} == {
        row(n)[1]["time"] for n in range(200)
    }
    assert 210 < len(good) < 300
    assert len(texts) - len(good) > 60


def sound(text: str) -> list[Fill]:
    """The fills in a message in which nothing is broken."""
    try:
        frame, bad = decode(text)
        fills = [fill(*item) for item in frame.items]
    except Unusable:
        return []
    return [] if bad else fills


@pytest.mark.parametrize("kind", sorted(GARBAGE))
def test_every_kind_of_garbage_is_refused_by_the_source_and_costs_no_other_row(kind: str) -> None:
    text = json.dumps({"type": "allFills", "seq": 1, "fills": [row(1)]})

    assert sound(text)
    assert not sound(GARBAGE[kind](text))


# -- sessions --


async def come_back(
    service: Hydromancer, nursery: Nursery, session: str, cursor: str | None = None
) -> WebSocketConnection:
    more = "" if cursor is None else f"&cursor={cursor}"
    return await dial(service, nursery, f"/ws?token={KEY}&sessionId={session}{more}")


async def leave(service: Hydromancer, nursery: Nursery, *subscriptions: Json) -> tuple[str, str]:
    """A client that saw one block and left: its session and cursor."""
    client = await dial(service, nursery)
    session = (await hear(client))["sessionId"]
    for subscription in subscriptions or (ALL,):
        await say(client, subscription)
        await hear(client)
    service.block(pair(row(1)))
    cursor = (await hear(client))["cursor"]
    service.drop_all()
    await trio.sleep(1)
    return session, cursor


async def test_who_comes_back_is_told_what_was_missed_and_goes_on(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    session, cursor = await leave(service, nursery)
    service.block(pair(row(2)))
    missed = service.block(pair(row(3)))

    client = await come_back(service, nursery, session, cursor)
    service.block(pair(row(4)))
    heard = await hear_for(client, 1)

    assert heard[0] == {"type": "reconnected", "sessionId": session}
    assert heard[1] == {
        "type": "replay",
        "channel": "allFills",
        "data": [row(2), row(3)],
        "cursor": missed.cursor,
        "count": 2,
        "hasGap": False,
    }
    assert (heard[2]["seq"], heard[2]["fills"]) == (1, [row(4)])


async def test_a_replay_can_be_ordinary_messages_after_a_header(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(replay="messages"))
    session, cursor = await leave(service, nursery)
    service.block(pair(row(2)))
    service.block(pair(row(3)))

    heard = await hear_for(await come_back(service, nursery, session, cursor), 1)

    assert (heard[1]["type"], heard[1]["count"], "data" in heard[1]) == ("replay", 2, False)
    assert [one["fills"] for one in heard[2:]] == [[row(2)], [row(3)]]


async def test_a_replay_goes_back_thirty_seconds_and_says_when_that_is_too_little(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    session, cursor = await leave(service, nursery)
    for number in range(2, 60):
        service.block(pair(row(number)))
        await trio.sleep(1)

    heard = await hear_for(await come_back(service, nursery, session, cursor), 1)

    assert heard[1]["hasGap"] is True
    assert 28 <= heard[1]["count"] <= 31
    assert heard[1]["data"][-1] == row(59)


async def test_a_session_lives_for_two_minutes(autojump_clock: MockClock, nursery: Nursery) -> None:
    service = make()
    session, _ = await leave(service, nursery)
    await trio.sleep(121)

    heard = await hear(await come_back(service, nursery, session))

    assert heard["type"] == "connected"
    assert heard["sessionId"] != session


@pytest.mark.parametrize(
    ("sessions", "kind"), [("ignored", "connected"), ("refused", "error"), ("resumed", "connected")]
)
async def test_sessions_that_are_not_known_are_ignored_or_refused(
    sessions: Any, kind: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(sessions=sessions))

    client = await come_back(service, nursery, "never-heard-of")

    assert (await hear(client))["type"] == kind


async def test_a_session_has_one_connection_the_newest(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make()
    first = await dial(service, nursery)
    session = (await hear(first))["sessionId"]
    await say(first, ALL)

    second = await come_back(service, nursery, session)

    assert (await end_of(first))[1] == "session resumed elsewhere"
    assert (await hear(second))["type"] == "reconnected"


@pytest.mark.parametrize(("cursor", "number"), [("5:6:7", 5), ("x", None), ("", None), ("²", None)])
def test_a_cursor_begins_with_the_block(cursor: str, number: int | None) -> None:
    assert place(cursor) == number


# -- the market --


def rows_of(made: list[Row]) -> Sent:
    return [(address, sent) for address, sent in (json.loads(one.json) for one in made)]


def trading(seconds: int, fills_per_s: float = 100.0, seed: int = 7) -> list[Row]:
    tape = Tape(seed, fills_per_s)
    blocks = [tape.block(START_MS + n * 100, 0.1) for n in range(seconds * 10)]
    return [one for block in blocks for one in block.rows]


@pytest.fixture(scope="module")
def traded() -> Sent:
    """Five minutes of rows, which several tests look at and none changes."""
    return rows_of(trading(300))


def test_the_same_seed_trades_the_same() -> None:
    once, again, other = trading(5), trading(5), trading(5, seed=8)

    assert [one.json for one in once] == [one.json for one in again]
    assert [one.json for one in once] != [one.json for one in other]


def test_every_trade_has_two_rows_that_agree(traded: Sent) -> None:
    trades: dict[int, Sent] = {}
    for address, sent in traded:
        trades.setdefault(sent["tid"], []).append((address, sent))

    for (one, mine), (other, theirs) in trades.values():
        assert one != other
        assert {mine["side"], theirs["side"]} == {"A", "B"}
        assert {mine["crossed"], theirs["crossed"]} == {True, False}
        for same in ("coin", "px", "sz", "time", "hash"):
            assert mine[same] == theirs[same]


def test_every_row_is_read_by_the_source_and_positions_add_up() -> None:
    held: dict[tuple[str, str], Decimal] = {}
    for address, sent in rows_of(trading(60)):
        frame, bad = decode(json.dumps({"type": "allFills", "fills": [[address, sent]]}))
        found = fill(*frame.items[0])
        assert bad == []
        if found.symbol.startswith(("@", "#")) or "/" in found.symbol:
            assert found.dir in ("Buy", "Sell")
            continue
        start = Decimal(sent["startPosition"])
        if found.role is None and found.dir != "Auto-Deleveraging":
            assert held.get((address, found.symbol), start) == start
        moved = found.quantity if found.side == "BUY" else -found.quantity
        held[address, found.symbol] = start + moved


def test_liquidations_come_in_cascades_and_single_with_all_that_is_odd_about_them(
    traded: Sent,
) -> None:
    stamped = [(address, sent) for address, sent in traded if "liquidation" in sent]
    roles = Counter(address == sent["liquidation"]["liquidatedUser"] for address, sent in stamped)
    words = Counter(sent["dir"] for _, sent in traded)
    methods = Counter(sent["liquidation"]["method"] for _, sent in stamped)

    assert 0.02 < len(stamped) / len(traded) < 0.3
    assert 0.9 < roles[True] / roles[False] < 1.1
    assert methods["market"] > methods["backstop"] > 0
    assert words["Auto-Deleveraging"] > 0
    assert any(word.startswith("Liquidated Isolated") for word in words)
    assert {"Open Long", "Close Long", "Open Short", "Close Short"} <= set(words)
    assert {"Long > Short", "Short > Long", "Buy", "Sell"} <= set(words)
    assert {sent["coin"] for _, sent in traded} == {coin.name for coin in COINS}


def test_few_accounts_trade_much_and_many_a_little(traded: Sent) -> None:
    counts = Counter(address for address, _ in traded)
    most = sum(count for _, count in counts.most_common(20))

    assert len(counts) > 1000
    assert most / counts.total() > 0.3


@pytest.mark.parametrize("fills_per_s", [0, 40, 200, 20_000])
def test_it_trades_as_fast_as_it_is_told(fills_per_s: float) -> None:
    rows = trading(2, fills_per_s)

    assert len(rows) == pytest.approx(2 * fills_per_s, rel=0.1, abs=4)


@pytest.mark.parametrize(
    ("steps", "words", "profits"),
    [
        ([5, -5], ["Open Long", "Close Long"], [0, 5.0]),
        ([-5, 5], ["Open Short", "Close Short"], [0, -5.0]),
        ([5, -8, 3], ["Open Long", "Long > Short", "Close Short"], [0, 5.0, -3.0]),
        ([-5, 8], ["Open Short", "Short > Long"], [0, -5.0]),
        ([5, 5, -4], ["Open Long", "Open Long", "Close Long"], [0, 0, 4 * 1.5]),
    ],
)
def test_a_position_says_what_a_trade_does_to_it(
    steps: list[int], words: list[str], profits: list[float]
) -> None:
    position = Position(20)

    told = [position.trade(step, 10_000_000 + n * 1_000_000) for n, step in enumerate(steps)]

    assert [change.word for change in told] == words
    assert [change.profit / 1e6 for change in told] == pytest.approx(profits)


async def test_blocks_come_every_70_to_200_ms(autojump_clock: MockClock, nursery: Nursery) -> None:
    service = make(fills_per_s=200)
    nursery.start_soon(service.run)
    client = await follow(service, nursery)

    heard = await hear_for(client, 60)

    assert 60 / 0.2 <= len(heard) <= 60 / 0.07
    assert [one["seq"] for one in heard] == list(range(1, len(heard) + 1))
    assert sum(len(one["fills"]) for one in heard) == pytest.approx(200 * 60, rel=0.05)


# -- flowd's source as its client --


class Dials:
    """Connects a source to the service, by whatever address it dials."""

    def __init__(self, service: Hydromancer, nursery: Nursery) -> None:
        self.service = service
        self.urls: list[str] = []
        self._nursery = nursery

    async def __call__(self, url: SplitResult) -> trio.abc.Stream:
        self.urls.append(url.geturl())
        ours, theirs = trio.testing.memory_stream_pair()
        await trio.lowlevel.checkpoint()
        self._nursery.start_soon(self.service.serve_websocket, theirs)
        return ours


FLOWD = """
[sources.fills]
kind = "hydromancer"
subscription = "allFills"
api_key = {{ env = "HYDROMANCER_API_KEY" }}
url = "ws://127.0.0.1:4302/ws"
retain = 100000
{more}

[sources.liquidations]
kind = "hydromancer"
subscription = "liquidationFills"
api_key = {{ env = "HYDROMANCER_API_KEY" }}
url = "ws://127.0.0.1:4302/ws"
retain = 100000
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDROMANCER_API_KEY", KEY)


class Ledger:
    """All that ever happened, as far as it is told."""

    def __init__(self, service: Hydromancer) -> None:
        self.rows: list[Row] = []
        self._service = service

    async def run(self) -> None:
        while True:
            await trio.sleep(0.1)
            self.rows += self._service.trade(0.1)

    @property
    def ids(self) -> list[str]:
        """All fills' ids."""
        return sorted(one.id for one in self.fills())

    def fills(self) -> list[Fill]:
        texts = (f'{{"fills":[{one.json.decode()}]}}' for one in self.rows)
        return [fill(*decode(text)[0].items[0]) for text in texts]


def ids(stream: Stream[Any]) -> list[str]:
    return sorted(record.value.id for record in stream.after(0))


def total_of(daemon: testing.Daemon, source: str) -> Any:
    return daemon.streams[f"{source}.totals"].get("total")


WEATHER: dict[str, Callable[[Hydromancer], Any]] = {
    "drop": lambda service: service.drop_all(),
    "close": lambda service: service.close_all(1001, "maintenance"),
    "lose": lambda service: service.lose(2),
    "error": lambda service: service.error("message rate limit exceeded"),
    "nonsense": lambda service: service.send("<html>502</html>"),
}


@pytest.mark.parametrize("replay", ["data", "messages"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_through_all_weather_each_row_is_there_once_and_sums_agree(
    replay: Any, chunked: bool, autojump_clock: MockClock, nursery: Nursery
) -> None:
    terms = Terms(replay=replay, overlap=3, chunk_items=5)
    faults = Faults(garbage=0.05, duplicate=0.05)
    service = make(fills_per_s=30, terms=terms, faults=faults)
    dials, ledger = Dials(service, nursery), Ledger(service)
    text = FLOWD.format(more="chunked = true" if chunked else "")

    async with testing.daemon(text, dial=dials) as daemon:
        await trio.sleep(1)
        nursery.start_soon(ledger.run)
        for trouble in [*WEATHER, *WEATHER]:
            await trio.sleep(12)
            WEATHER[trouble](service)
        await trio.sleep(12)
        every = ledger.fills()
        forced = [one for one in every if one.role == "liquidated"]

        assert ids(daemon.streams["fills"]) == sorted(one.id for one in every)
        assert ids(daemon.streams["liquidations"]) == sorted(one.id for one in forced)
        assert total_of(daemon, "fills").count == len(every)
        assert total_of(daemon, "fills").volume == exact_sum(every)
        assert total_of(daemon, "liquidations").count == len(forced)
        assert total_of(daemon, "liquidations").volume == exact_sum(forced)
    nursery.cancel_scope.cancel()


def exact_sum(fills: list[Fill]) -> Decimal:
    found = Decimal(0)
    for one in fills:
        found = EXACT.add(found, one.notional)
    return found


@pytest.mark.parametrize("crash", [False, True])
async def test_a_daemon_that_is_back_within_half_a_minute_has_missed_nothing(
    crash: bool, autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(fills_per_s=50)
    dials, ledger = Dials(service, nursery), Ledger(service)
    store = testing.MemoryStore()
    text = '[flowd]\nsave_every = "1s"\n' + FLOWD.format(more="")

    async with testing.daemon(text, dial=dials, store=store, crash=crash):
        await trio.sleep(1)
        nursery.start_soon(ledger.run)
        await trio.sleep(20)
    await trio.sleep(20)
    async with testing.daemon(text, dial=dials, store=store) as daemon:
        await trio.sleep(10)

        assert ids(daemon.streams["fills"]) == ledger.ids
        assert total_of(daemon, "fills").count == len(ledger.rows)
    assert ["sessionId=" in url for url in dials.urls] == [False, False, True, True]
    nursery.cancel_scope.cancel()


async def test_a_feed_that_is_refused_does_not_disturb_the_other(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(all_fills=False))
    dials = Dials(service, nursery)

    async with testing.daemon(FLOWD.format(more=""), dial=dials) as daemon:
        await trio.sleep(600)
        service.block(pair(liquidated(1)))
        await trio.sleep(1)
        health = (await daemon.get("/health")).status
        status = {one["name"]: one for one in (await daemon.get("/status")).json()["components"]}

        assert len(dials.urls) == 2, "the refused one is not asked for again"
        assert ids(daemon.streams["liquidations"])
        assert status["liquidations"]["delivering"]
        assert status["liquidations"]["restarts"] == 0
        assert not status["fills"]["delivering"]
        assert status["fills"]["dropped"]["refused (permission)"] == 1
        assert health == 503
    nursery.cancel_scope.cancel()


async def test_reconnecting_by_hand_asks_a_refused_feed_at_once(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(terms=Terms(all_fills=False))
    dials = Dials(service, nursery)

    async with testing.daemon(FLOWD.format(more=""), dial=dials) as daemon:
        await trio.sleep(60)
        service.terms.all_fills = True
        daemon.supervisor.kick("fills")
        await trio.sleep(1)

        assert daemon.feeds["fills"].tally.delivering
    nursery.cancel_scope.cancel()


async def test_a_stall_is_noticed_and_what_was_lost_is_counted(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    service = make(fills_per_s=20)
    nursery.start_soon(service.run)
    dials = Dials(service, nursery)

    async with testing.daemon(FLOWD.format(more=""), dial=dials) as daemon:
        await trio.sleep(10)
        service.stall()
        await trio.sleep(100)
        service.resume()
        await trio.sleep(60)

        tally = daemon.feeds["fills"].tally
        assert tally.delivering
        assert tally.connections >= 2
        assert tally.dropped["gap in replay"] >= 1 or tally.dropped["hole in seq"] >= 1
        outages = [record.value for record in daemon.streams["outages"].after(0)]
        assert any(one.component == "fills" and one.to_ms is not None for one in outages)
    nursery.cancel_scope.cancel()


async def test_the_old_login_works_too(autojump_clock: MockClock, nursery: Nursery) -> None:
    service = make(fills_per_s=20)
    nursery.start_soon(service.run)
    upstream = Dials(service, nursery)
    stream: Stream[Fill] = Stream("fills", Fill, clock=testing.clock, epoch="test", retain=Retain())
    tables: dict[str, Stream[Any]] = {}

    def table(name: str, record: type[Any]) -> Stream[Any]:
        return tables.setdefault(name, Stream(name, record, clock=testing.clock, epoch="test"))

    feed = Feed("fills", stream, clock=testing.clock, dial=upstream, table=table)
    settings = flowd_hydromancer.Config("allFills", Secret("a test", KEY), login="message")
    nursery.start_soon(flowd_hydromancer.fills, settings, feed)
    await trio.sleep(10)

    assert feed.tally.delivering
    assert len(stream) > 100
    assert upstream.urls == ["wss://api.hydromancer.xyz/ws"]
    nursery.cancel_scope.cancel()


# -- real sockets, and the program --


@pytest.mark.edge
async def test_it_plays_over_a_real_socket() -> None:
    service = Hydromancer(7, lambda: START_MS, limits=Limits(messages_per_s=100))
    async with trio.open_nursery() as nursery:
        address = await nursery.start(service.serve)
        port = int(address.rpartition(":")[2].partition("/")[0])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = await wrap_client_stream(nursery, stream, "service", f"/ws?token={KEY}")
            await hear(client)
            await say(client, ALL)
            await hear(client)
            service.block(pair(row(1)))
            heard = await hear(client)
            nursery.cancel_scope.cancel()

    assert address.startswith("ws://127.0.0.1:")
    assert address.endswith("/ws")
    assert heard["fills"] == [row(1)]


async def test_it_refuses_to_be_reachable_by_others() -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        await make().serve(host="0.0.0.0")


@pytest.mark.edge
def test_the_program_says_where_hydromancer_is() -> None:
    script = "import typer; from flowd_simulator.command import simulate; typer.run(simulate)"
    ports = ["--port", "0", "--rest-port", "0", "--hydromancer-port", "0", "--fills", "200"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *ports], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline().strip()]
        while not lines[-1].endswith("Ctrl+C ends it."):
            lines.append(program.stdout.readline().strip())
        program.terminate()
        program.communicate(timeout=20)

    fills = lines.index('subscription = "allFills"')
    assert lines[fills + 1].startswith('url = "ws://127.0.0.1:')
    assert lines[fills + 1].endswith('/ws"')
    assert any(line.startswith("rest_url = ") for line in lines)
    assert simulate.__doc__ is not None
    assert "Hydromancer" in simulate.__doc__
    assert WHALE != MAKER
