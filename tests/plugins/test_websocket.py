"""The sink `websocket`: its messages, and conversations with clients who know what they want, or do
not.
"""

import json
from typing import Any

import flowd_websocket
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import BadRequest, Batch, Position
from tests.plugins.served import Order, Price, batch, serving

BTC, ETH = Order("BTCUSDT"), Order("ETHUSDT", "SELL")


def records(message: Any) -> list[int]:
    assert message["type"] == "records"
    return [record["seq"] for record in message["records"]]


# -- messages --


def test_a_batch_is_one_message_of_records() -> None:
    (message,) = map(json.loads, flowd_websocket.messages(batch(BTC, ETH, first=True)))

    assert message["stream"] == "orders"
    assert message["position"] == "test.2"
    assert message["first"] is True
    assert records(message) == [1, 2]


def test_a_gap_is_a_message_before_the_records() -> None:
    gap, rest = map(json.loads, flowd_websocket.messages(batch(BTC, BTC, BTC, after=0, retain=1)))

    assert gap == {
        "type": "gap",
        "stream": "orders",
        "position": "test.2",
        "gap": {"first": 1, "last": 2},
    }
    assert records(rest) == [3]


def test_a_reset_is_a_message_before_everything_else() -> None:
    whole = Batch("orders", [], Position("test", 9), True, None, reset=True)

    reset, rest = map(json.loads, flowd_websocket.messages(whole))

    assert reset == {"type": "reset", "stream": "orders", "position": "test.9"}
    assert rest["first"] is True


def test_the_warning_says_how_far_behind() -> None:
    warning = json.loads(flowd_websocket.slow("orders", 7))

    assert (warning["type"], warning["code"]) == ("warning", "SLOW_CONSUMER")
    assert (warning["stream"], warning["behind"]) == ("orders", 7)


# -- conversations --


async def test_subscribing_brings_what_is_retained_and_then_what_comes(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        daemon.streams["orders"].append(BTC)
        visitor = daemon.connect("/ws")

        visitor.say({"action": "subscribe", "streams": ["orders", "prices"]})
        orders, prices = visitor.messages()
        daemon.streams["prices"].append(Price("BTC"), key="BTC")
        await wait_all_tasks_blocked()
        (live,) = visitor.messages()

    assert (orders["stream"], orders["first"], records(orders)) == ("orders", True, [1])
    assert (prices["stream"], prices["first"], records(prices)) == ("prices", True, [])
    assert (live["stream"], live["first"], records(live)) == ("prices", False, [1])


async def test_the_address_can_say_it_all(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        for value in (BTC, ETH, BTC):
            daemon.streams["orders"].append(value)

        visitor = daemon.connect("/ws?streams=orders,prices&symbol=BTCUSDT&limit=1")

        orders, prices = visitor.messages()
        assert records(orders) == [3]
        assert prices["stream"] == "prices"


async def test_who_knows_its_position_gets_only_what_is_newer(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        orders = daemon.streams["orders"]
        for _ in range(3):
            orders.append(BTC)
        visitor = daemon.connect("/ws")

        visitor.say(
            {"action": "subscribe", "streams": "orders", "after": {"orders": f"{orders.epoch}.2"}}
        )

        (message,) = visitor.messages()
        assert message["first"] is False
        assert records(message) == [3]


async def test_a_position_of_another_life_is_a_reset(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        daemon.streams["orders"].append(BTC)

        visitor = daemon.connect("/ws?streams=orders&after=0ld.8")

        reset, rest = visitor.messages()
        assert reset["type"] == "reset"
        assert records(rest) == [1]


async def test_a_filter_holds_for_the_streams_that_know_it(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws")
        visitor.say(
            {
                "action": "subscribe",
                "streams": ["orders", "prices"],
                "filter": {"symbol": "ETHUSDT", "min_price": "1.5"},
            }
        )
        visitor.messages()

        daemon.streams["orders"].append(BTC)
        daemon.streams["orders"].append(ETH)
        daemon.streams["prices"].append(Price("BTC"))
        await wait_all_tasks_blocked()

        found = {message["stream"]: records(message) for message in visitor.messages()}
        assert found == {"orders": [2], "prices": [1]}


async def test_unsubscribing_ends_it(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws?streams=orders")
        visitor.say({"action": "unsubscribe", "streams": ["orders"]})
        visitor.messages()

        daemon.streams["orders"].append(BTC)
        await wait_all_tasks_blocked()

        assert visitor.messages() == []
        assert visitor.session.follows == []


async def test_subscribing_again_replaces_what_was_asked_before(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws?streams=orders&symbol=BTCUSDT")
        visitor.say({"action": "subscribe", "streams": ["orders"], "filter": {"symbol": "ETHUSDT"}})
        visitor.messages()

        daemon.streams["orders"].append(BTC)
        daemon.streams["orders"].append(ETH)
        await wait_all_tasks_blocked()

        (message,) = visitor.messages()
        assert records(message) == [2]


@pytest.mark.parametrize("id", [None, 7, "a7", ""])
async def test_a_ping_is_answered_with_its_id_and_the_time(
    id: Any, autojump_clock: MockClock
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws")

        visitor.say({"action": "ping"} | ({} if id is None else {"id": id}))

        (pong,) = visitor.messages()
        assert pong == {"type": "pong", "time_ms": testing.clock(), "id": id}


# -- mistakes --

ORDERS = {"action": "subscribe", "streams": ["orders"]}

MISTAKES = [
    ("hello", "message", "hello", "subscribe"),
    ("[1]", "message", "[1]", "subscribe"),
    ('"ping"', "message", '"ping"', "subscribe"),
    ({}, "action", None, "ping"),
    ({"action": "SUBSCRIBE"}, "action", "SUBSCRIBE", "subscribe"),
    ({"action": ["ping"]}, "action", ["ping"], "ping"),
    ({"action": "ping", "streams": ["orders"]}, "streams", ["orders"], "id"),
    ({**ORDERS, "symbols": ["BTCUSDT"]}, "symbols", ["BTCUSDT"], "filter"),
    ({"action": "subscribe"}, "streams", None, "orders"),
    ({"action": "subscribe", "streams": []}, "streams", [], "orders"),
    ({"action": "subscribe", "streams": [1]}, "streams", [1], "orders"),
    ({"action": "subscribe", "streams": {"orders": 1}}, "streams", {"orders": 1}, "prices"),
    ({"action": "subscribe", "streams": ["prices", "nope"]}, "stream", "nope", "orders"),
    ({**ORDERS, "filter": "BTCUSDT"}, "filter", "BTCUSDT", "symbol"),
    ({**ORDERS, "filter": {"colour": "red"}}, "colour", "red", "symbol"),
    ({**ORDERS, "filter": {"side": "HOLD"}}, "side", "HOLD", "SELL"),
    ({**ORDERS, "filter": {"symbol": []}}, "symbol", [], "commas"),
    ({**ORDERS, "filter": {"min_price": "cheap"}}, "min_price", "cheap", "decimal"),
    ({**ORDERS, "filter": {"max_price": "NaN"}}, "max_price", "NaN", "decimal"),
    ({**ORDERS, "after": "k3v9.1"}, "after", "k3v9.1", "orders"),
    ({**ORDERS, "after": {"prices": "k3v9.1"}}, "after", "prices", "orders"),
    ({**ORDERS, "after": {"orders": "first"}}, "after", "first", "position"),
    ({**ORDERS, "after": {"orders": 12}}, "after", 12, "position"),
    ({**ORDERS, "limit": -1}, "limit", -1, "0 to"),
    ({**ORDERS, "limit": 1.5}, "limit", 1.5, "0 to"),
    ({**ORDERS, "limit": True}, "limit", True, "0 to"),
    ({**ORDERS, "limit": 10**12}, "limit", 10**12, "0 to"),
    ({**ORDERS, "limit": "²"}, "limit", "²", "0 to"),
    ({"action": "unsubscribe", "streams": ["orders"]}, "streams", "orders", "prices"),
    ({"action": "unsubscribe", "streams": ["prices", "orders"]}, "streams", "orders", "prices"),
    ({"action": "unsubscribe", "streams": ["prices"], "limit": 1}, "limit", 1, "streams"),
    ({"action": "unsubscribe", "streams": None}, "streams", None, "orders"),
]


@pytest.mark.parametrize(
    ("said", "parameter", "value", "allowed"), MISTAKES, ids=[str(one[0])[:60] for one in MISTAKES]
)
async def test_a_mistake_is_named_with_what_would_be_right_and_changes_nothing(
    said: Any, parameter: str, value: Any, allowed: str, autojump_clock: MockClock
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws?streams=prices")
        visitor.messages()

        visitor.say(said)
        (error,) = visitor.messages()
        daemon.streams["prices"].append(Price("BTC"))
        daemon.streams["orders"].append(BTC)
        await wait_all_tasks_blocked()
        (live,) = visitor.messages()

    assert error["type"] == "error"
    assert (error["parameter"], error["value"]) == (parameter, value)
    assert allowed in str(error["allowed"])
    assert error["message"]
    assert live["stream"] == "prices"


@pytest.mark.parametrize(
    ("target", "parameter"),
    [
        ("/ws?streams=nope", "stream"),
        ("/ws?symbol=BTCUSDT", "streams"),
        ("/ws?limit=3", "streams"),
        ("/ws?streams=orders&limit=x", "limit"),
        ("/ws?streams=orders,prices&after=k3v9.1", "after"),
        ("/ws?streams=orders&colour=red", "colour"),
    ],
)
async def test_a_mistake_in_the_address_is_told_in_a_message_and_the_connection_stays(
    target: str, parameter: str, autojump_clock: MockClock
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect(target)

        (error,) = visitor.messages()
        visitor.say(ORDERS)
        (snapshot,) = visitor.messages()

    assert (error["type"], error["parameter"]) == ("error", parameter)
    assert snapshot["stream"] == "orders"


@pytest.mark.parametrize(
    ("id", "repeated"), [(7, 7), ("a7", "a7"), ("", ""), (0, 0), ([7], None), ({}, None)]
)
async def test_an_error_repeats_the_id_of_what_it_answers(
    id: Any, repeated: Any, autojump_clock: MockClock
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws")

        visitor.say({"action": "fly", "id": id})

        (error,) = visitor.messages()
        assert error.get("id") == repeated


async def test_one_mistake_after_the_other_ends_the_connection(autojump_clock: MockClock) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        visitor = daemon.connect("/ws")

        for _ in range(21):
            visitor.say("nonsense")

        assert len(visitor.messages()) == 21
        assert visitor.goodbye == (1008, "too many mistakes")


async def test_who_reads_too_slowly_is_warned_and_told_what_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_websocket, "websocket") as daemon:
        orders = daemon.streams["orders"]
        visitor = daemon.connect("/ws?streams=orders")
        visitor.messages()
        visitor.socket.takes(10)
        for _ in range(9):
            orders.append(BTC)
            await wait_all_tasks_blocked()
        await trio.sleep(3)

        visitor.socket.recovers()
        await wait_all_tasks_blocked()

        begun, warning, gap, rest = visitor.messages()
        assert records(begun) == [1]
        assert (warning["code"], warning["behind"]) == ("SLOW_CONSUMER", 8)
        assert gap["gap"] == {"first": 2, "last": 4}
        assert records(rest) == [5, 6, 7, 8, 9]


junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=8),
        st.sampled_from(["orders", "prices", "symbol", "subscribe", "ping", "test.1"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
sayings = st.one_of(
    st.text(),
    st.builds(json.dumps, junk),
    st.builds(
        json.dumps,
        st.fixed_dictionaries(
            {"action": st.sampled_from(["subscribe", "unsubscribe", "ping"])},
            optional={key: junk for key in ("streams", "filter", "after", "limit", "id")},
        ),
    ),
    st.builds(
        json.dumps,
        st.fixed_dictionaries(
            {"action": st.just("subscribe"), "streams": st.just(["orders"])},
            optional={key: junk for key in ("filter", "after", "limit", "id")},
        ),
    ),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(sayings, min_size=5, max_size=15))
def test_whatever_a_client_says_it_is_answered_or_told_its_mistake(texts: list[str]) -> None:
    async def converse() -> None:
        async with serving(flowd_websocket, "websocket") as daemon:
            visitor = daemon.connect("/ws")
            for text in texts:
                before = visitor.session.follows
                visitor.say(text)
                types = {message["type"] for message in visitor.messages()}
                assert types <= {"error", "records", "reset", "pong"}
                if "error" in types:
                    assert visitor.session.follows == before

    trio.run(converse, clock=MockClock(autojump_threshold=0))


def test_a_refusal_carries_all_that_a_program_needs() -> None:
    mistake = BadRequest("no", parameter="p", value=[1], allowed=("a", "b"), code="WORD")

    assert json.loads(flowd_websocket.error(mistake)) == {
        "type": "error",
        "code": "WORD",
        "message": "no",
        "parameter": "p",
        "value": [1],
        "allowed": ["a", "b"],
    }
