"""The simulated Hyperliquid as its clients see it: real frames and requests over memory streams, a
mock clock.
"""

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
import trio
from flowd_simulator.chain.coins import BY_NAME, COINS, PERPETUALS
from flowd_simulator.chain.live import Chain
from flowd_simulator.faults import Faults, InfoFault
from flowd_simulator.hydromancer import Hydromancer
from flowd_simulator.hyperliquid import Hyperliquid, Terms
from flowd_simulator.hyperliquid.garbage import GARBAGE
from flowd_simulator.market import Market
from trio.testing import MockClock
from trio_websocket import WebSocketConnection

from flowd import testing
from tests.plugins.exchange_client import connect, end_of, hear, hear_for, texts_for

Nursery = trio.Nursery
Json = dict[str, Any]
NOBODY = "0x" + 40 * "9"
START_MS = testing.START_MS


def make(**options: Any) -> Hyperliquid:
    return Hyperliquid(7, testing.clock, **options)


async def dial(exchange: Hyperliquid, nursery: Nursery) -> WebSocketConnection:
    return await connect(exchange.serve_stream, nursery, "/ws")


def trades(coin: str = "BTC", method: str = "subscribe") -> Json:
    return {"method": method, "subscription": {"type": "trades", "coin": coin}}


async def say(connection: WebSocketConnection, message: object) -> None:
    text = message if isinstance(message, str) else json.dumps(message)
    await connection.send_message(text)


async def follow(exchange: Hyperliquid, nursery: Nursery, *coins: str) -> WebSocketConnection:
    """A client that has heard the first trades of each coin."""
    client = await dial(exchange, nursery)
    for coin in coins or ("BTC",):
        await say(client, trades(coin))
        assert (await hear(client))["channel"] == "subscriptionResponse"
        assert (await hear(client))["channel"] == "trades"
    return client


def ask(exchange: Hyperliquid, kind: str, **members: object) -> Any:
    answer = exchange.info(json.dumps({"type": kind, **members}).encode())
    assert answer.status == 200, answer
    return json.loads(answer.body)


def busy(exchange: Hyperliquid) -> str:
    """The address of somebody who holds something and is no maker."""
    exchange.info(b"{}")
    for account in exchange.chain.tape.accounts.known.values():
        if not account.maker and len(list(account.open())) > 1:
            return account.address
    raise AssertionError("nobody holds two positions")


# -- the WebSocket --


async def test_a_subscription_is_echoed_and_begins_with_thirty_old_trades(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await dial(make(), nursery)

    await say(client, {"method": "subscribe", "subscription": {"coin": "BTC", "type": "trades"}})
    echo, first = await hear(client), await hear(client)

    assert echo == {
        "channel": "subscriptionResponse",
        "data": {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}},
    }
    assert first["channel"] == "trades"
    assert len(first["data"]) == 30
    times = [one["time"] for one in first["data"]]
    assert times == sorted(times)
    assert times[-1] <= START_MS


async def test_trades_are_what_the_fills_of_both_sides_say(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(fills_per_s=60)
    client = await follow(exchange, nursery, *(coin.name for coin in COINS))

    rows = [one for _ in range(30) for one in exchange.advance()]
    heard = [one for told in await hear_for(client, 1) for one in told["data"]]

    sides: dict[tuple[str, int], dict[str, tuple[str, Json]]] = defaultdict(dict)
    for row in rows:
        sides[row.coin, row.fill["tid"]][row.fill["side"]] = row.address, row.fill
    assert len(heard) * 2 == len(rows)
    for trade in heard:
        both = sides.pop((trade["coin"], trade["tid"]))
        (buyer, bought), (seller, _) = both["B"], both["A"]
        assert list(trade) == ["coin", "side", "px", "sz", "time", "hash", "tid", "users"]
        assert trade["users"] == [buyer, seller]
        assert trade["side"] == ("B" if bought["crossed"] else "A")
        assert (trade["px"], trade["sz"]) == (bought["px"], bought["sz"])
    assert not sides


async def test_batches_share_times_and_hashes_and_many_hashes_are_zero(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(fills_per_s=200)
    client = await follow(exchange, nursery)

    for _ in range(30):
        exchange.advance()
    batches = [told["data"] for told in await hear_for(client, 1)]

    every = [one for batch in batches for one in batch]
    zero = sum(int(one["hash"], 16) == 0 for one in every)
    assert max(map(len, batches)) > 10
    assert all(len({one["time"] for one in batch}) == 1 for batch in batches)
    assert len({one["hash"] for one in every}) < len(every) - zero
    assert 0.1 < zero / len(every) < 0.4


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (trades(), 'Already subscribed: {"type":"trades","coin":"BTC"}'),
        (
            trades("ETH", "unsubscribe"),
            'Already unsubscribed: {"type":"trades","coin":"ETH"}',
        ),
        (trades("NOPE"), 'Invalid subscription {"type":"trades","coin":"NOPE"}'),
        (
            {"method": "subscribe", "subscription": {"type": "liquidations"}},
            "Error parsing JSON into valid websocket request: ",
        ),
        ({"method": "fly"}, 'Error parsing JSON into valid websocket request: {"method":"fly"}'),
        ("{", "Error parsing JSON into valid websocket request: "),
        ("[]", "Error parsing JSON into valid websocket request: "),
    ],
)
async def test_mistakes_are_told_and_the_connection_stays(
    message: object, words: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    client = await follow(make(), nursery)

    await say(client, message)
    told = await hear(client)
    await say(client, {"method": "ping"})

    assert told["channel"] == "error"
    assert told["data"].startswith(words)
    assert await hear(client) == {"channel": "pong"}


async def test_trades_can_be_those_of_earlier_times_without_accounts(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(fills_per_s=100, terms=Terms(users=False))
    client = await follow(exchange, nursery)

    exchange.advance(5)

    told = [one for each in await hear_for(client, 1) for one in each["data"]]
    assert told
    assert not any("users" in one for one in told)


async def test_who_unsubscribes_hears_no_more(autojump_clock: MockClock, nursery: Nursery) -> None:
    exchange = make(fills_per_s=60)
    client = await follow(exchange, nursery)

    await say(client, trades(method="unsubscribe"))
    echo = await hear(client)
    exchange.advance(10)

    assert echo["data"]["method"] == "unsubscribe"
    assert await hear_for(client, 1) == []


async def test_a_connection_to_which_nothing_is_said_ends_after_a_minute(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make()
    quiet, pinging = await follow(exchange, nursery), await follow(exchange, nursery)

    with trio.move_on_after(59):
        await quiet.get_message()
    await say(pinging, {"method": "ping"})
    await hear(pinging)

    assert (await end_of(quiet, 2))[0] == 1000
    assert await hear_for(pinging, 50) == []


async def test_markets_are_told_once_a_second(autojump_clock: MockClock, nursery: Nursery) -> None:
    exchange = make()
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery)

    for subscription in (
        {"type": "activeAssetCtx", "coin": "ETH"},
        {"type": "activeAssetCtx", "coin": "@107"},
        {"type": "allMids"},
    ):
        await say(client, {"method": "subscribe", "subscription": subscription})
    heard = await hear_for(client, 3.5)

    channels = [one["channel"] for one in heard]
    assert channels.count("activeAssetCtx") == channels.count("activeSpotAssetCtx") == 4
    assert channels.count("allMids") == 4
    (first, *_) = [one["data"] for one in heard if one["channel"] == "activeAssetCtx"]
    assert first["coin"] == "ETH"
    assert {"funding", "openInterest", "markPx", "oraclePx", "premium"} <= set(first["ctx"])
    nursery.cancel_scope.cancel()


# -- limits and faults --


async def status_of(exchange: Hyperliquid) -> int | None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as inner:
            await dial(exchange, inner)
    return getattr(caught.value.exceptions[0], "status_code", None)


async def test_an_address_has_so_many_connections_and_no_more(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(terms=Terms(connections=2))
    await dial(exchange, nursery)
    second = await dial(exchange, nursery)

    refused = await status_of(exchange)
    await second.aclose()

    assert refused == 429
    await dial(exchange, nursery)


async def test_an_address_opens_so_many_connections_a_minute(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(terms=Terms(connections_per_min=1))
    await dial(exchange, nursery)

    assert await status_of(exchange) == 429
    await trio.sleep(61)
    await dial(exchange, nursery)


async def test_subscriptions_of_an_address_are_counted_over_its_connections(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(terms=Terms(subscriptions=2))
    await follow(exchange, nursery, "BTC", "ETH")
    client = await dial(exchange, nursery)

    await say(client, trades("SOL"))

    told = await hear(client)
    assert told == {"channel": "error", "data": "Cannot track more than 2 total subscriptions."}


async def test_messages_of_an_address_are_counted_by_the_minute(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(terms=Terms(messages_per_min=2))
    client = await dial(exchange, nursery)

    for _ in range(3):
        await say(client, {"method": "ping"})
    heard = [await hear(client) for _ in range(3)]

    assert [one["channel"] for one in heard] == ["pong", "pong", "error"]


async def test_it_drops_stalls_greets_and_says_anything_on_demand(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(fills_per_s=100, terms=Terms(greeting="Websocket connection established."))
    client = await dial(exchange, nursery)

    greeting = await client.get_message()
    await say(client, trades())
    await hear(client), await hear(client)
    exchange.stall()
    exchange.advance()
    stalled = await hear_for(client, 1)
    exchange.resume()
    exchange.send("<html>")
    told = await client.get_message()
    exchange.drop_all()

    assert greeting == "Websocket connection established."
    assert stalled == []
    assert told == "<html>"
    assert (await end_of(client))[0] == 1006


async def test_faults_of_all_kinds_leave_the_good_frames_whole(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make(faults=Faults(garbage=0.5, duplicate=0.3))
    client = await follow(exchange, nursery)
    good = {
        "coin": "BTC",
        "side": "B",
        "px": "100.0",
        "sz": "1.0",
        "time": START_MS,
        "hash": "0x0",
        "tid": 1,
        "users": [NOBODY, NOBODY],
    }

    for number in range(200):
        exchange.tell({**good, "tid": number})

    heard = await texts_for(client, 1)
    whole = [json.dumps({"channel": "trades", "data": [{**good, "tid": n}]}) for n in range(200)]
    compact = {text.replace(" ", "") for text in whole}
    assert compact <= set(heard)
    assert len(heard) > 300
    assert all(GARBAGE[kind](whole[0]) != whole[0] for kind in GARBAGE)


# -- /info --


def test_a_state_agrees_with_itself_and_with_the_fills() -> None:
    exchange = make()
    user = busy(exchange)

    state = ask(exchange, "clearinghouseState", user=user.upper().replace("0X", "0x"))
    builder = ask(exchange, "clearinghouseState", user=user, dex="xyz")

    account = exchange.chain.tape.accounts.known[user]
    whole, cross = state["marginSummary"], state["crossMarginSummary"]
    positions = [one["position"] for one in state["assetPositions"]]
    assert {one["coin"] for one in positions} == {c.name for c, _ in account.open() if not c.dex}
    signed = sum(
        Decimal(p["positionValue"]) * (1 if Decimal(p["szi"]) > 0 else -1) for p in positions
    )
    assert Decimal(whole["accountValue"]) == Decimal(whole["totalRawUsd"]) + signed
    assert Decimal(whole["totalNtlPos"]) == sum(Decimal(p["positionValue"]) for p in positions)
    assert Decimal(whole["totalMarginUsed"]) == sum(Decimal(p["marginUsed"]) for p in positions)
    assert Decimal(cross["accountValue"]) <= Decimal(whole["accountValue"])
    equity = Decimal(whole["accountValue"]) + Decimal(builder["marginSummary"]["accountValue"])
    marks = exchange.chain.tape.prices.marks(START_MS)
    assert int(equity * 1_000_000) == account.equity(marks)
    newest = {}
    for fill in reversed(ask(exchange, "userFills", user=user)):
        moved = Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1)
        newest[fill["coin"]] = Decimal(fill["startPosition"]) + moved
    # Who trades much has positions whose fills are forgotten.
    known = {p["coin"]: Decimal(p["szi"]) for p in positions if p["coin"] in newest}
    assert known
    assert known == {coin: newest[coin] for coin in known}


def test_published_liquidation_prices_follow_from_the_published_state() -> None:
    exchange = make()
    exchange.info(b"{}")
    seen = nulls = 0
    for address in exchange.chain.tape.accounts.known:
        exchange.weights.clear()
        state = ask(exchange, "clearinghouseState", user=address)
        for one in state["assetPositions"]:
            position = one["position"]
            size = Decimal(position["szi"])
            side, rate = (1 if size > 0 else -1), Decimal(1) / (2 * position["maxLeverage"])
            mark = Decimal(position["positionValue"]) / abs(size)
            if position["leverage"]["type"] == "isolated":
                equity = Decimal(position["leverage"]["rawUsd"]) + size * mark
                available = equity - rate * abs(size) * mark
            else:
                available = Decimal(state["crossMarginSummary"]["accountValue"])
                available -= Decimal(state["crossMaintenanceMarginUsed"])
            found = mark - side * available / abs(size) / (1 - rate * side)
            if position["liquidationPx"] is None:
                assert found <= Decimal("1e-6")
                nulls += 1
            else:
                assert float(position["liquidationPx"]) == pytest.approx(float(found), rel=1e-4)
                seen += 1

    assert seen > 100
    assert nulls > 10


def test_nobody_has_nothing() -> None:
    exchange = make()

    state = ask(exchange, "clearinghouseState", user=NOBODY)

    assert state["marginSummary"]["accountValue"] == "0.0"
    assert state["assetPositions"] == []
    assert state["time"] == START_MS
    assert ask(exchange, "userFills", user=NOBODY) == []
    assert ask(exchange, "portfolio", user=NOBODY)[0][1]["accountValueHistory"] == []


def test_states_can_be_large() -> None:
    exchange = make(terms=Terms(padding=5000))

    state = ask(exchange, "clearinghouseState", user=busy(exchange))

    assert len(state["assetPositions"]) > 5000
    coins = [one["position"]["coin"] for one in state["assetPositions"]]
    assert len(set(coins)) == len(coins)


def test_markets_are_told_in_the_order_of_meta() -> None:
    exchange = make()

    meta, contexts = ask(exchange, "metaAndAssetCtxs")
    mids = ask(exchange, "allMids")
    builders = ask(exchange, "meta", dex="xyz")

    names = [one["name"] for one in meta["universe"]]
    assert meta == ask(exchange, "meta", dex="")
    assert len(contexts) == len(names)
    assert meta["universe"][-1]["isDelisted"] is True
    assert contexts[-1]["midPx"] is None
    market = Market(7, rate=1.0)
    for name, ctx in zip(names[:-1], contexts, strict=False):
        assert ctx["markPx"] == mids[name]
        symbol = BY_NAME[name].symbol
        if symbol in market.instruments:
            price = market.price(symbol, START_MS)
            assert float(ctx["markPx"]) == pytest.approx(price, rel=1e-3)
    assert "@107" in mids
    assert all(one["name"].startswith("xyz:") for one in builders["universe"])
    assert ask(exchange, "perpDexs") == [None, {"name": "xyz"}]


def test_fills_can_be_paged_by_time_without_losing_one() -> None:
    exchange = make(terms=Terms(fills_max=50, weight_per_min=10**9))
    exchange.info(b"{}")
    known = exchange.chain.tape.accounts.known.values()
    account = max(known, key=lambda one: len(one.rows))

    found: set[tuple[int, str, int, str]] = set()
    start_ms = 0
    while True:
        page = ask(exchange, "userFillsByTime", user=account.address, startTime=start_ms)
        before = len(found)
        found |= {(one["time"], one["coin"], one["tid"], one["side"]) for one in page}
        if len(found) == before:
            break
        start_ms = max(one["time"] for one in page)

    assert len(account.rows) > 60
    assert len(found) == len(account.rows)
    bounds = {"startTime": START_MS + 1, "endTime": None}
    assert ask(exchange, "userFillsByTime", user=account.address, **bounds) == []
    newest = ask(exchange, "userFills", user=account.address)
    assert [one["time"] for one in newest] == sorted((f["time"] for f in newest), reverse=True)
    assert "txIndex" not in newest[0]


def test_a_portfolio_ends_with_the_state_of_now() -> None:
    exchange = make()
    user = busy(exchange)

    portfolio = dict(ask(exchange, "portfolio", user=user))

    assert list(portfolio) == [
        *("day", "week", "month", "allTime"),
        *("perpDay", "perpWeek", "perpMonth", "perpAllTime"),
    ]
    for period in portfolio.values():
        assert period["pnlHistory"][0][1] == "0.0"
        assert period["accountValueHistory"][-1][0] == START_MS
        assert len(period["pnlHistory"]) == len(period["accountValueHistory"])
    account = exchange.chain.tape.accounts.known[user]
    marks = exchange.chain.tape.prices.marks(START_MS)
    history = portfolio["allTime"]["accountValueHistory"]
    assert len(history) > 3
    assert int(Decimal(history[-1][1]) * 1_000_000) == account.equity(marks)
    assert Decimal(portfolio["perpAllTime"]["vlm"]) == Decimal(account.perp_volume) / 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"type":"fly"}',
        b'{"type":["meta"]}',
        b'{"type":"clearinghouseState"}',
        b'{"type":"clearinghouseState","user":"0x12"}',
        b'{"type":"userFillsByTime","user":"0x' + 40 * b"1" + b'","startTime":"0"}',
        b'{"type":"meta","dex":"nope"}',
    ],
)
def test_what_is_not_understood_is_422_in_plain_text(body: bytes) -> None:
    answer = make().info(body)

    assert answer.status == 422
    assert answer.body == b"Failed to deserialize the JSON body into the target type"
    assert answer.content_type.startswith("text/plain")


async def test_requests_weigh_and_over_the_limit_there_is_null(autojump_clock: MockClock) -> None:
    exchange = make(terms=Terms(weight_per_min=100))

    for _ in range(4):
        ask(exchange, "meta")
    for _ in range(10):
        ask(exchange, "allMids")
    refused = exchange.info(b'{"type":"allMids"}')
    await trio.sleep(60)
    again = exchange.info(b'{"type":"allMids"}')
    other = exchange.info(b'{"type":"allMids"}', "127.0.0.2")

    assert (refused.status, refused.body) == (429, b"null")
    assert (again.status, other.status) == (200, 200)
    assert exchange.weights["memory"].most == 100
    assert exchange.weights["memory"].refused == 1
    assert exchange.weights["memory"].used == 2


def test_fills_weigh_by_their_number() -> None:
    exchange = make()
    exchange.info(b"{}")
    known = exchange.chain.tape.accounts.known.values()
    account = max(known, key=lambda one: len(one.rows))
    before = exchange.weights["memory"].used

    found = ask(exchange, "userFills", user=account.address)

    assert exchange.weights["memory"].used - before == 20 + len(found) // 20


async def request(exchange: Hyperliquid, nursery: Nursery, text: bytes) -> bytes:
    """What a connection brings until it is closed, or two seconds."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(exchange.serve_stream, theirs)
    await ours.send_all(text)
    heard = b""
    with trio.move_on_after(2):
        while more := await ours.receive_some():
            heard += more
    return heard


POST = b"POST /info HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"


async def test_one_port_has_both_and_a_connection_has_several_requests(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    body = b'{"type":"allMids"}'
    one = POST % (len(body), body)

    heard = await request(make(), nursery, one + one)

    assert heard.count(b"HTTP/1.1 200") == 2
    assert heard.count(b'"BTC":') == 2
    assert heard.lower().count(b"content-type: application/json") == 2


async def test_the_front_server_fails_cuts_and_is_silent_on_demand(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make()
    body = b'{"type":"allMids"}'

    exchange.faults.info = InfoFault.bad_gateway
    failed = await request(exchange, nursery, POST % (len(body), body))
    exchange.faults.info = InfoFault.cut
    cut = await request(exchange, nursery, POST % (len(body), body))
    exchange.faults.info = InfoFault.silent
    silent = await request(exchange, nursery, POST % (len(body), body))

    assert failed.startswith(b"HTTP/1.1 502")
    assert b"<center><h1>502 Bad Gateway</h1></center>" in failed
    assert cut == silent == b""
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "head", "length"),
    [
        (InfoFault.limited, b"HTTP/1.1 429", 4),
        (InfoFault.limited_until, b"Retry-After: 2\r\n", 4),
        (InfoFault.truncated, b"HTTP/1.1 200", 22),
        (InfoFault.page, b"text/html", 122),
        (InfoFault.error, b"HTTP/1.1 500", 21),
    ],
)
async def test_every_question_is_answered_by_the_fault_that_is_on(
    fault: InfoFault, head: bytes, length: int, autojump_clock: MockClock, nursery: Nursery
) -> None:
    exchange = make()
    exchange.faults.info = fault
    body = b'{"type":"exchangeStatus"}'

    heard = await request(exchange, nursery, POST % (len(body), body))

    told, _, content = heard.partition(b"\r\n\r\n")
    assert head in told + b"\r\n"
    assert len(content) == length


async def test_info_fails_by_the_clock(autojump_clock: MockClock, nursery: Nursery) -> None:
    faults = Faults(info=InfoFault.error, info_every_s=60, info_for_s=20)
    exchange = make(faults=faults)
    nursery.start_soon(exchange.run)
    statuses = []
    for _ in range(4):
        await trio.sleep(22.5)
        statuses.append(exchange.info(b'{"type":"meta"}').status)
    nursery.cancel_scope.cancel()

    assert statuses == [200, 200, 500, 200]


@pytest.mark.parametrize("text", [b"GET /else HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x01\r\n\r\n"])
async def test_anything_else_is_refused(
    text: bytes, autojump_clock: MockClock, nursery: Nursery
) -> None:
    heard = await request(make(), nursery, text)

    assert heard == b"" or heard.startswith(b"HTTP/1.1 404")
    nursery.cancel_scope.cancel()


# -- one chain for two services --


async def test_hydromancer_and_hyperliquid_tell_of_the_same_chain(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    chain = Chain(7, testing.clock, fills_per_s=100)
    hydromancer = Hydromancer(7, testing.clock, chain=chain)
    exchange = make(chain=chain)
    client = await follow(exchange, nursery, *(coin.name for coin in COINS))
    fills = await connect(hydromancer.serve_websocket, nursery, "/ws?token=demo-key")
    await hear(fills)
    await say(fills, {"type": "subscribe", "subscription": {"type": "allFills"}})
    await hear(fills)

    for _ in range(10):
        chain.advance(1)
    told = [one for each in await hear_for(fills, 1) for one in each["fills"]]
    traded = [one for each in await hear_for(client, 1) for one in each["data"]]

    assert {(fill["coin"], fill["tid"]) for _, fill in told} == {
        (one["coin"], one["tid"]) for one in traded
    }
    held: dict[tuple[str, str], Decimal] = {}
    for address, fill in told:
        moved = Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1)
        held[address, fill["coin"]] = Decimal(fill["startPosition"]) + moved
    exchange.terms.weight_per_min = 10**9
    names = {coin.name for coin in PERPETUALS if not coin.dex}
    for (address, coin), size in held.items():
        if coin in names:
            state = ask(exchange, "clearinghouseState", user=address)
            positions = [one["position"] for one in state["assetPositions"]]
            found = [Decimal(one["szi"]) for one in positions if one["coin"] == coin]
            assert found == ([size] if size else [])


async def test_the_chain_goes_on_by_itself_and_once(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    chain = Chain(7, testing.clock, fills_per_s=50)
    exchange, hydromancer = make(chain=chain), Hydromancer(7, testing.clock, chain=chain)
    rows: list[int] = []
    chain.listeners.append(lambda block: rows.append(len(block.rows)))

    nursery.start_soon(exchange.run)
    nursery.start_soon(hydromancer.run)
    nursery.start_soon(chain.run)
    await trio.sleep(20)

    assert sum(rows) == pytest.approx(50 * 20, rel=0.1)
    nursery.cancel_scope.cancel()


async def test_it_refuses_to_be_reachable_by_others() -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        await make().serve(host="0.0.0.0")
