"""Bybit's liquidations and instruments, through the test kit alone: what is recorded, and all that
can go wrong.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from flowd_bybit import Config, all_liquidations, listed
from flowd_bybit.connection import ARGS_MAX, TOPICS_MAX, portions
from flowd_bybit.parse import is_pong, liquidations, page
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Instrument, Liquidation
from flowd.plugin import Seconds, Unusable, UpstreamError, UpstreamSilent, codec, unwrap

UPSTREAM = Path(__file__).parents[1] / "frames"
NOW_MS = 1_790_000_000_000
BTC = Config(["BTCUSDT"])
ALL = Config(["*"])
PATH = "/v5/market/instruments-info"

Nursery = trio.Nursery


def frames(name: str) -> list[str]:
    return (UPSTREAM / f"bybit_{name}.jsonl").read_text(encoding="utf-8").splitlines()


def read(
    text: str, now_ms: int = NOW_MS, wanted: Callable[[str], bool] = lambda symbol: True
) -> list[Liquidation | str]:
    """What a frame holds; of what cannot be used, the reason."""
    found = liquidations(codec.decode_object(text), now_ms, wanted)
    return [one.reason if isinstance(one, Unusable) else one for one in found]


def event(**changes: Any) -> dict[str, Any]:
    """An event as Bybit sends it, with other values for some fields; None takes a field out."""
    fields = {
        **{"T": testing.START_MS, "s": "BTCUSDT", "S": "Buy", "v": "0.1", "p": "50000"},
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def frame(*events: dict[str, Any], symbol: str = "BTCUSDT") -> str:
    topic = f"allLiquidation.{symbol}"
    said = {"topic": topic, "type": "snapshot", "ts": testing.START_MS + 300, "data": events}
    return json.dumps(said, ensure_ascii=False)


def row(symbol: str, **changes: Any) -> dict[str, Any]:
    """A row of the list of instruments."""
    base = symbol.removesuffix("USDT")
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": base,
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {"qtyStep": "0.001"},
        **changes,
    }


def listing(*symbols: str, cursor: str = "") -> dict[str, Any]:
    rows = [row(symbol) for symbol in symbols]
    return {"retCode": 0, "retMsg": "OK", "result": {"list": rows, "nextPageCursor": cursor}}


def bybit(*unknown: str, says: str = "error:handler not found,topic:{}") -> testing.Script:
    """Bybit, which knows all symbols but these."""

    def answer(text: str) -> str | None:
        said = json.loads(text)
        echo = {"conn_id": "c", "req_id": said["req_id"], "op": said["op"]}
        if said["op"] == "ping":
            return json.dumps({"success": True, "ret_msg": "pong", **echo})
        bad = [arg for arg in said["args"] if arg.partition(".")[2] in unknown]
        if bad:
            return json.dumps({"success": False, "ret_msg": says.format(bad[0]), **echo})
        return json.dumps({"success": True, "ret_msg": "", **echo})

    return testing.answers(answer)


def subscribed(feed: Any) -> list[list[str]]:
    """The symbols of each request, in order."""
    said = [json.loads(text) for text in feed.upstream.heard]
    asked = [one["args"] for one in said if one["op"] == "subscribe"]
    return [[arg.removeprefix("allLiquidation.") for arg in args] for args in asked]


async def failure(config: Config, feed: Any) -> UpstreamError:
    """What the source dies of."""
    try:
        await all_liquidations(config, feed)
    except Exception as error:
        found = unwrap(error)
        assert isinstance(found, UpstreamError)
        return found
    raise AssertionError("the source ended by itself")


def scripted(*scripts: testing.Script, **options: Any) -> Any:
    return testing.feed(*scripts, record=Liquidation, **options)


# -- what is recorded --


@pytest.mark.parametrize(
    ("line", "symbol", "side", "quantity", "notional", "time_ms"),
    [
        (0, "POPCATUSDT", "SELL", "16322", "721.10596", 1785905986808),
        (1, "ADAUSDT", "BUY", "13248", "2536.992", 1786014946933),
        (2, "ICPUSDT", "SELL", "19.7", "50.9245", 1789670094099),
        (3, "MARSCOINUSDT", "BUY", "2380", "303.0692", 1789670278053),
        (4, "PIPPINUSDT", "BUY", "2846", "69.89776", 1740480207110),
        (5, "ROSEUSDT", "BUY", "20000", "899.8", 1739502302929),
    ],
)
def test_a_position_s_side_becomes_the_forced_order_s(
    line: int, symbol: str, side: str, quantity: str, notional: str, time_ms: int
) -> None:
    (found,) = read(frames("longs_and_shorts")[line])

    assert isinstance(found, Liquidation)
    assert (found.symbol, found.side, found.time_ms) == (symbol, side, time_ms)
    assert (str(found.quantity), str(found.notional)) == (quantity, notional)


def test_all_is_told_at_the_price_of_bankruptcy() -> None:
    (found,) = read(frames("longs_and_shorts")[0])

    assert isinstance(found, Liquidation)
    assert (found.venue, found.price_kind, found.coverage) == ("bybit", "bankruptcy", "all")
    assert found.id == "y:POPCATUSDT:1785905986808:Buy:16322:0.04418"


def test_twins_in_one_message_are_two_orders() -> None:
    (text,) = frames("twins_in_one_message")

    first, second = read(text)

    assert isinstance(first, Liquidation)
    assert isinstance(second, Liquidation)
    assert second.id == f"{first.id}:1"


def test_the_dead_topic_is_not_read_as_if_it_were_the_new_one() -> None:
    assert [read(text) for text in frames("old_topic")] == [["unknown topic"]] * 2


def test_pongs_are_known_in_every_form() -> None:
    acknowledgement, pong, refusal = [codec.decode_object(text) for text in frames("control")]

    assert is_pong(pong)
    assert is_pong({"op": "pong", "args": ["1785"]})
    assert not is_pong(acknowledgement)
    assert not is_pong(refusal)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"S": "buy"}, "unknown side"),
        ({"S": None}, "unknown side"),
        ({"S": ["Buy"]}, "unknown side"),
        ({"v": "0"}, "bad number"),
        ({"v": "-1"}, "bad number"),
        ({"p": "NaN"}, "bad number"),
        ({"p": 5}, "bad number"),
        ({"p": None}, "bad number"),
        ({"T": "1790000000000"}, "bad time"),
        ({"T": True}, "bad time"),
        ({"T": NOW_MS + 60_001}, "in the future"),
        ({"s": "ETHUSDT"}, "malformed"),
    ],
)
def test_one_bad_event_loses_none_of_the_others(changes: dict[str, Any], reason: str) -> None:
    found = read(frame(event(), event(**changes), event(v="0.2")))

    assert [one if isinstance(one, str) else str(one.quantity) for one in found] == [
        "0.1",
        reason,
        "0.2",
    ]


def test_the_last_minute_of_the_future_is_believed() -> None:
    (found,) = read(frame(event(T=NOW_MS + 60_000)))

    assert isinstance(found, Liquidation)


def test_what_nobody_asked_for_is_counted() -> None:
    assert read(frame(event()), wanted=lambda symbol: symbol == "ETHUSDT") == ["not asked for"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_nothing_in_a_message_breaks_the_reader(data: Any) -> None:
    text = json.dumps({"topic": "allLiquidation.BTCUSDT", "data": data})

    assert all(isinstance(one, str) for one in read(text))


# -- what is listed --


def test_only_linear_usdt_perpetuals_have_the_shared_name() -> None:
    rows = [
        row("BTCUSDT"),
        row("BTCPERP", quoteCoin="USDC"),
        row("BTCUSDT-26DEC26", contractType="LinearFutures"),
        row("BTCUSD", contractType="InversePerpetual", quoteCoin="USD"),
        None,
    ]

    found, cursor = page({"result": {"list": rows, "nextPageCursor": ""}}, 5)

    assert found == [
        Instrument(
            "BTCUSDT", "bybit", "BTC", "USDT", Decimal("0.10"), Decimal("0.001"), None,
            "USDT", "Trading", 5,
        )
    ]  # fmt: skip
    assert cursor == ""
    assert str(found[0].tick) == "0.1"


async def test_the_list_is_followed_from_page_to_page(autojump_clock: object) -> None:
    def answer(request: testing.Request) -> Any:
        second = request.query.get("cursor") == "2"
        return listing("ETHUSDT") if second else listing("BTCUSDT", cursor="2")

    feed = testing.feed(record=Instrument, rest=testing.rest({PATH: answer}))

    with trio.move_on_after(1):
        await listed.instruments(listed.Config(), feed)

    assert [one.key for one in feed.values] == ["bybit/BTCUSDT", "bybit/ETHUSDT"]
    assert feed.rest.requests[0].query == {"category": "linear", "limit": "1000"}


async def test_what_is_listed_no_more_is_forgotten(autojump_clock: object) -> None:
    answers = testing.turns(listing("BTCUSDT", "LUNAUSDT"), listing("BTCUSDT"))
    feed = testing.feed(record=Instrument, rest=testing.rest({PATH: answers}))

    with trio.move_on_after(3700):
        await listed.instruments(listed.Config(), feed)

    assert [one.symbol for one in feed.values] == ["BTCUSDT"]
    assert feed.tally.published == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (testing.Reply(403), "does not serve a region"),
        (testing.Reply(502), "HTTP 502"),
        (testing.Reply(429), "asked too much"),
        (b"<html>", "Bybit: "),
        ({"retCode": 10006, "retMsg": "Too many visits!"}, "10006 Too many visits!"),
        ({"retCode": 0, "result": {}}, "expected a list"),
        (listing(), "lists no linear USDT perpetual"),
        (OSError("nobody there"), "nobody there"),
    ],
)
async def test_a_list_that_cannot_be_had_says_why(
    autojump_clock: object, answer: Any, words: str
) -> None:
    feed = testing.feed(record=Instrument, rest=testing.rest({PATH: answer}))

    with pytest.raises(UpstreamError, match=words):
        await listed.instruments(listed.Config(), feed)


async def test_a_region_that_is_refused_is_left_alone_for_ten_minutes(
    autojump_clock: object,
) -> None:
    rest = testing.rest({PATH: testing.Reply(403)})

    by_list = await failure(ALL, scripted(testing.says(), rest=rest))
    by_handshake = await failure(BTC, scripted(testing.refuses(403)))

    assert by_list.retry_s == by_handshake.retry_s == 600
    assert str(by_handshake).startswith("refused: ")


async def test_another_refusal_is_weather(autojump_clock: object) -> None:
    error = await failure(BTC, scripted(testing.refuses(503)))

    assert error.retry_s == 0
    assert "HTTP 503" in str(error)


# -- the connection --


async def test_what_is_told_is_published_once(autojump_clock: object, nursery: Nursery) -> None:
    twins = frame(event(v="5"), event(v="5"))
    feed = scripted(bybit() + testing.hears(1) + testing.says(twins, twins))
    nursery.start_soon(all_liquidations, BTC, feed)

    await wait_all_tasks_blocked()

    assert [str(one.quantity) for one in feed.values] == ["5", "5"]
    assert feed.tally.duplicates == 2
    assert feed.tally.delivering


async def test_garbage_is_counted_and_the_connection_kept(
    autojump_clock: object, nursery: Nursery
) -> None:
    garbage = (
        "<html>",
        "[]",
        '{"op":"subscribe","req_id":"99"}',
        '{"news":1}',
        *frames("old_topic"),
    )
    feed = scripted(bybit() + testing.hears(1) + testing.says(*garbage, frame(event())))
    nursery.start_soon(all_liquidations, BTC, feed)

    await wait_all_tasks_blocked()

    assert len(feed.values) == 1
    assert feed.tally.dropped == {
        "not JSON": 1,
        "not an object": 1,
        "unknown message": 2,
        "unknown topic": 2,
    }


async def test_one_unknown_symbol_costs_the_others_nothing(
    autojump_clock: object, nursery: Nursery
) -> None:
    feed = scripted(bybit("NOPEUSDT"))
    config = Config(["BTCUSDT", "NOPEUSDT", "ETHUSDT"])
    nursery.start_soon(all_liquidations, config, feed)

    await wait_all_tasks_blocked()

    assert subscribed(feed) == [["BTCUSDT", "NOPEUSDT", "ETHUSDT"], ["BTCUSDT", "ETHUSDT"]]
    assert feed.tally.dropped == {"not subscribable": 1}
    assert "NOPEUSDT: take it out of symbols" in str(feed.tally.problem)
    assert feed.tally.delivering


async def test_a_refusal_that_names_nothing_is_narrowed_down(
    autojump_clock: object, nursery: Nursery
) -> None:
    symbols = [f"C{number}USDT" for number in range(20)]
    feed = scripted(bybit("C3USDT", "C17USDT", says="error: no"))
    nursery.start_soon(all_liquidations, Config(symbols), feed)

    await wait_all_tasks_blocked()

    last = {symbol: args for args in subscribed(feed) for symbol in args}
    assert set(last) == set(symbols)
    assert feed.tally.dropped == {"not subscribable": 2}
    assert "C3USDT, C17USDT" in str(feed.tally.problem)


async def test_who_knows_none_of_the_symbols_is_asked_again_much_later(
    autojump_clock: object,
) -> None:
    error = await failure(BTC, scripted(bybit("BTCUSDT")))

    assert "none of these symbols" in str(error)
    assert error.retry_s == 300


async def test_nothing_is_delivered_before_all_is_acknowledged(
    autojump_clock: object, nursery: Nursery
) -> None:
    feed = scripted(testing.hears(1) + testing.says(frame(event())))
    nursery.start_soon(all_liquidations, BTC, feed)

    await wait_all_tasks_blocked()

    assert len(feed.values) == 1
    assert not feed.tally.delivering


async def test_a_subscription_that_nobody_answers_is_a_dead_connection(
    autojump_clock: object,
) -> None:
    error = await failure(BTC, scripted(testing.hears(1)))

    assert isinstance(error, UpstreamSilent)
    assert "not answered within 15s" in str(error)


async def test_hours_without_a_liquidation_are_no_silence(
    autojump_clock: object, nursery: Nursery
) -> None:
    feed = scripted(bybit())
    nursery.start_soon(all_liquidations, BTC, feed)

    await trio.sleep(3 * 3600)

    assert len(feed.upstream.connections) == 1
    assert feed.tally.delivering
    assert feed.ends_ms is not None
    assert feed.clock() - feed.ends_ms < 25_000


async def test_two_pings_without_an_answer_are_a_dead_connection(autojump_clock: object) -> None:
    async def chatters(connection: testing.Connection) -> None:
        while True:
            await trio.sleep(1)
            await connection.say(frame(event(T=testing.clock())))

    acknowledged = '{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}'
    script = testing.hears(1) + testing.says(acknowledged) + testing.plays(chatters)

    error = await failure(BTC, scripted(script))

    assert isinstance(error, UpstreamSilent)
    assert "2 pings without an answer" in str(error)
    assert trio.current_time() == pytest.approx(60, abs=1)


async def test_a_connection_that_is_dead_for_two_reasons_ends_with_one(
    autojump_clock: object,
) -> None:
    acknowledged = '{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}'

    error = await failure(BTC, scripted(testing.hears(1) + testing.says(acknowledged)))

    assert isinstance(error, UpstreamSilent)


async def test_silence_for_a_minute_is_a_dead_upstream(autojump_clock: object) -> None:
    error = await failure(
        Config(["BTCUSDT"], ping_every=Seconds(50)),
        scripted(bybit() + testing.hears(1) + testing.waits(0.1) + testing.falls_silent()),
    )

    assert isinstance(error, UpstreamSilent)
    assert trio.current_time() == pytest.approx(60, abs=2)


# -- all symbols --


async def test_all_are_those_that_are_listed(autojump_clock: object, nursery: Nursery) -> None:
    symbols = sorted(f"C{number}USDT" for number in range(250))
    feed = scripted(bybit(), rest=testing.rest({PATH: listing(*symbols)}))
    nursery.start_soon(all_liquidations, ALL, feed)

    await wait_all_tasks_blocked()

    asked = subscribed(feed)
    assert [len(args) for args in asked] == [100, 100, 50]
    assert sorted(symbol for args in asked for symbol in args) == symbols


async def test_what_is_listed_later_is_followed_within_an_hour(
    autojump_clock: object, nursery: Nursery
) -> None:
    lists = testing.turns(listing("BTCUSDT"), listing("BTCUSDT", "NEWUSDT"))
    feed = scripted(bybit(), rest=testing.rest({PATH: lists}))
    nursery.start_soon(all_liquidations, ALL, feed)

    await trio.sleep(3700)

    assert subscribed(feed) == [["BTCUSDT"], ["NEWUSDT"]]


async def test_a_connection_that_is_dialled_again_needs_no_list(
    autojump_clock: object, nursery: Nursery
) -> None:
    lists = testing.turns(listing("BTCUSDT"), OSError("nobody there"))
    first = bybit() + testing.hears(1) + testing.waits(1) + testing.drops()
    feed = scripted(first, bybit(), rest=testing.rest({PATH: lists}))

    await failure(ALL, feed)
    nursery.start_soon(all_liquidations, ALL, feed)
    await trio.sleep(3 * 3600)

    assert subscribed(feed) == [["BTCUSDT"], ["BTCUSDT"]]
    assert feed.tally.dropped["no list of instruments"] > 1
    assert feed.tally.delivering


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["*", "BTCUSDT"]}, "already means all"),
        ({"symbols": ["BTCUSD"]}, "'BTCUSD' is no linear USDT perpetual"),
        ({"symbols": ["BTCUSDT-26DEC26"]}, "no linear USDT perpetual"),
        ({"symbols": ["BTCUSDT"], "url": "https://stream.bybit.com"}, 'such as "wss://'),
        ({"symbols": ["*"], "rest_url": "wss://api.bybit.com"}, 'such as "https://'),
        ({"symbols": ["*"], "ping_every": 0.5}, "expected 1s to 60s"),
        ({"symbols": ["*"], "silence": 10.0}, "more than ping_every"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**settings)


@given(st.lists(st.text("ABC币", min_size=1, max_size=40), max_size=1200))
def test_portions_hold_every_symbol_once_and_fit_into_a_request(symbols: list[str]) -> None:
    found = portions(symbols)

    assert [symbol for portion in found for symbol in portion] == symbols
    for portion in found:
        assert 0 < len(portion) <= TOPICS_MAX
        topics = ",".join(f'"allLiquidation.{symbol}"' for symbol in portion)
        assert len(topics.encode()) <= ARGS_MAX
