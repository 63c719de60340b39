"""Binance's forced orders, through the test kit alone: what is recorded, what is documented, and
all that can go wrong.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import flowd_binance
import pytest
import trio
from flowd_binance import Config, force_orders
from flowd_binance.parse import forced_order, message
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Liquidation
from flowd.plugin import Unusable, UpstreamError, UpstreamSilent, codec, unwrap

UPSTREAM = Path(__file__).parents[1] / "frames"
COMPANION = "btcusdt@markPrice@1s"
PRICE = f'{{"stream":"{COMPANION}","data":{{"e":"markPriceUpdate","s":"BTCUSDT","p":"50000.1"}}}}'
BTC = Config(["BTCUSDT"])

Nursery = trio.Nursery


def frames(name: str) -> list[str]:
    return (UPSTREAM / f"binance_{name}.jsonl").read_text(encoding="utf-8").splitlines()


def liquidation(frame: str) -> Liquidation:
    _, event = message(frame)
    return forced_order(event)


def order(**changes: Any) -> str:
    """A frame as Binance sends it, with other values for some fields; None takes a field out."""
    fields = {
        "s": "BTCUSDT",
        "S": "BUY",
        "z": "0.100",
        "ap": "50000",
        "p": "50100",
        "T": 1700000001000,
        "st": 1,
    } | changes
    inner = {key: value for key, value in fields.items() if value is not None}
    event = {"e": "forceOrder", "E": 1700000002000, "o": inner}
    return json.dumps({"stream": "btcusdt@forceOrder", "data": event}, ensure_ascii=False)


def acknowledge(text: str) -> str | None:
    said = json.loads(text)
    if said["method"] != "SUBSCRIBE":
        return None
    return json.dumps({"result": None, "id": said["id"]})


ACKNOWLEDGES = testing.answers(acknowledge)
LIVES = ACKNOWLEDGES + testing.says(PRICE) + testing.hears(1) + testing.waits(0.1)


def keeps_talking(every_s: float) -> testing.Script:
    async def play(connection: testing.Connection) -> None:
        while True:
            await connection.say(PRICE)
            await trio.sleep(every_s)

    return testing.plays(play)


async def failure(config: Config, feed: Any) -> BaseException:
    """What the source dies of."""
    try:
        await force_orders(config, feed)
    except Exception as error:
        return unwrap(error)
    raise AssertionError("the source ended by itself")


# -- what is recorded --


@pytest.mark.parametrize(
    ("name", "symbol", "side", "quantity", "price", "time_ms"),
    [
        ("bare_2020_last_fill_below_total", "BTCUSDT", "SELL", "1.300", "9242.01", 1594107015081),
        ("bare_2021_last_fill_below_total", "BTCUSDT", "SELL", "0.029", "34738.38", 1625030771359),
        ("combined_2021_without_pair", "IOTXUSDT", "SELL", "3661", "0.06669", 1634653599180),
        ("bare_2022_padded_price", "BTCUSDT", "SELL", "0.288", "39021.00", 1650898329196),
        ("bare_2025", "ETHUSDT", "SELL", "0.036", "2704.51", 1738661434384),
        ("one_symbol_2026_padded_decimals", "STGUSDT", "SELL", "5", "0.1355000", 1786172556607),
        ("one_symbol_2026_bought", "BTCUSDT", "BUY", "0.057", "84439.90", 1790488548221),
        ("pushed_at_trade_time", "BTCUSDT", "BUY", "0.001", "83598.50", 1790845665206),
        (
            "one_symbol_2026_last_fill_below_total",
            "XRPUSDT",
            "BUY",
            "127.2",
            "1.4912",
            1791091174219,
        ),
        (
            "all_symbols_2026_last_fill_below_total",
            "ILVUSDT",
            "SELL",
            "116.5",
            "3.85642",
            1791391082119,
        ),
        ("documented_example", "BTCUSDT", "SELL", "0.014", "9910", 1568014460893),
        ("class_beside_the_event", "BTCUSDT", "SELL", "0.014", "9910", 1568014460893),
    ],
)
def test_a_recorded_order_is_read_as_filled_at_its_average_price(
    name: str, symbol: str, side: str, quantity: str, price: str, time_ms: int
) -> None:
    (frame,) = frames(name)

    found = liquidation(frame)

    assert (found.symbol, found.side, found.time_ms) == (symbol, side, time_ms)
    assert (str(found.quantity), str(found.price)) == (quantity, price)
    assert found.notional == Decimal(quantity) * Decimal(price)


def test_what_binance_tells_is_a_sample_at_the_price_of_the_fill() -> None:
    (frame,) = frames("documented_example")

    found = liquidation(frame)

    assert (found.venue, found.price_kind, found.coverage) == ("binance", "fill", "sampled")


def test_ten_recorded_orders_are_ten_liquidations_in_their_order() -> None:
    recorded = frames("ten_within_18_seconds")

    found = [liquidation(frame) for frame in recorded]

    assert [(one.symbol, one.side, f"{one.quantity:f}") for one in found] == [
        ("PUMPUSDT", "SELL", "723071"),
        ("MAGMAUSDT", "SELL", "581"),
        ("QNTUSDT", "SELL", "0.3"),
        ("SOONUSDT", "BUY", "6335"),
        ("RUNEUSDT", "SELL", "134"),
        ("DOGEUSDT", "SELL", "1147"),
        ("ONEUSDT", "SELL", "400000"),
        ("SOONUSDT", "BUY", "128"),
        ("SOONUSDT", "BUY", "695"),
        ("QNTUSDT", "BUY", "0.3"),
    ]
    assert len({one.id for one in found}) == 10
    assert found[0].notional == Decimal("3537.263332")


def test_a_recorded_coin_margined_order_is_refused_also_without_its_class() -> None:
    (frame,) = frames("coin_margined_without_class")

    with pytest.raises(Unusable, match=r"^COIN-M$"):
        liquidation(frame)


def test_the_same_order_has_one_id_wherever_its_class_stands() -> None:
    (plain,), (beside,) = frames("documented_example"), frames("class_beside_the_event")

    assert liquidation(plain) == liquidation(beside)
    assert liquidation(plain).id == "b:BTCUSDT:1568014460893:SELL:0.014:9910"


@pytest.mark.parametrize(
    "answer", [pytest.param(frame, id=frame[:40]) for frame in frames("errors_bare")]
)
async def test_a_recorded_error_ends_the_connection_with_binances_words(
    answer: str, autojump_clock: trio.testing.MockClock
) -> None:
    feed = testing.feed(testing.hears() + testing.says(answer))

    error = await failure(BTC, feed)

    assert isinstance(error, UpstreamError)
    assert json.loads(answer)["msg"] in str(error)


async def test_a_nested_error_ends_the_connection_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = testing.feed(testing.hears() + testing.says(*frames("errors_nested")))

    error = await failure(BTC, feed)

    assert str(error) == "Binance refused: 2 Invalid request: invalid stream"


async def test_recorded_answers_and_other_events_are_no_liquidations(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    others = [*frames("acknowledgements"), *frames("other_events")]
    feed = testing.feed(LIVES + testing.says(*others))
    nursery.start_soon(force_orders, BTC, feed)

    await trio.sleep(1)

    assert feed.values == []
    assert feed.tally.dropped == {"unknown event aggTrade": 2, "unknown event markPriceUpdate": 1}
    nursery.cancel_scope.cancel()


# -- subscribing --


async def test_it_dials_the_routed_path_with_the_companion(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(LIVES)
    nursery.start_soon(force_orders, BTC, feed)

    await wait_all_tasks_blocked()

    assert feed.upstream.urls == [
        "wss://fstream.binance.com/market/stream?streams=btcusdt@markPrice@1s"
    ]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("symbols", "streams"),
    [
        (["*"], ["!forceOrder@arr"]),
        (["BTCUSDT", "ETHUSDT"], ["btcusdt@forceOrder", "ethusdt@forceOrder"]),
        (["BTCUSDT", "BTCUSDT"], ["btcusdt@forceOrder"]),
        (["龙虾USDT"], ["龙虾usdt@forceOrder"]),
    ],
)
async def test_symbols_are_subscribed_to_by_binances_names(
    symbols: list[str],
    streams: list[str],
    autojump_clock: trio.testing.MockClock,
    nursery: Nursery,
) -> None:
    feed = testing.feed(LIVES)
    nursery.start_soon(force_orders, Config(symbols), feed)

    await wait_all_tasks_blocked()

    (said,) = feed.upstream.heard
    assert json.loads(said) == {"method": "SUBSCRIBE", "params": streams, "id": 1}
    nursery.cancel_scope.cancel()


async def test_many_symbols_are_subscribed_to_in_portions_and_slowly(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    portions: list[tuple[float, int, int]] = []

    async def listen(connection: testing.Connection) -> None:
        while True:
            said = json.loads(await connection.hear())
            portions.append((trio.current_time(), said["id"], len(said["params"])))

    feed = testing.feed(testing.plays(listen))
    nursery.start_soon(force_orders, Config([f"A{n}USDT" for n in range(450)]), feed)

    await trio.sleep(5)

    assert [(id, count) for _, id, count in portions] == [(1, 200), (2, 200), (3, 50)]
    times = [time for time, _, _ in portions]
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(times))
    nursery.cancel_scope.cancel()


async def test_an_unanswered_subscription_is_a_dead_upstream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = testing.feed(keeps_talking(1))

    error = await failure(BTC, feed)

    assert isinstance(error, UpstreamSilent)
    assert str(error) == "SUBSCRIBE was not acknowledged within 15s"
    assert trio.current_time() == pytest.approx(15.25)


async def test_a_partly_answered_subscription_is_a_dead_upstream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first_only = testing.answers(lambda text: acknowledge(text) if '"id": 1' in text else None)
    feed = testing.feed(first_only + keeps_talking(1))

    error = await failure(Config([f"A{n}USDT" for n in range(201)]), feed)

    assert "not acknowledged" in str(error)
    assert not feed.tally.delivering


async def test_the_unrouted_path_which_acknowledges_and_stays_silent_is_explained(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = testing.feed(ACKNOWLEDGES)

    error = await failure(BTC, feed)

    assert isinstance(error, UpstreamSilent)
    assert "upstream silent for 60s" in str(error)
    assert "url must end in the routed path, /market" in str(error)
    assert not feed.tally.delivering


async def test_leaving_is_said(autojump_clock: trio.testing.MockClock, nursery: Nursery) -> None:
    feed = testing.feed(LIVES)
    nursery.start_soon(force_orders, BTC, feed)
    await trio.sleep(1)

    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()

    assert json.loads(feed.upstream.heard[-1])["method"] == "UNSUBSCRIBE"


# -- whether it delivers --


@pytest.mark.parametrize(
    ("script", "delivers"),
    [
        pytest.param(ACKNOWLEDGES, False, id="an acknowledgement alone"),
        pytest.param(testing.says(PRICE), False, id="the companion alone"),
        pytest.param(testing.says(order()), False, id="an order without an acknowledgement"),
        pytest.param(ACKNOWLEDGES + testing.says(PRICE), True, id="both"),
        pytest.param(ACKNOWLEDGES + testing.says("<html>"), False, id="nonsense is no data"),
    ],
)
async def test_it_delivers_when_all_is_acknowledged_and_data_flows(
    script: testing.Script,
    delivers: bool,
    autojump_clock: trio.testing.MockClock,
    nursery: Nursery,
) -> None:
    feed = testing.feed(script)
    nursery.start_soon(force_orders, BTC, feed)

    await trio.sleep(5)

    assert feed.tally.delivering is delivers
    nursery.cancel_scope.cancel()


async def test_quiet_hours_are_no_reason_to_reconnect_while_the_companion_speaks(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACKNOWLEDGES + keeps_talking(30))
    nursery.start_soon(force_orders, BTC, feed)

    await trio.sleep(6 * 3600)

    assert feed.tally.connections == 1
    assert feed.tally.delivering
    assert feed.values == []
    nursery.cancel_scope.cancel()


async def test_a_silent_companion_is_a_dead_upstream_though_pings_are_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = testing.feed(LIVES)

    error = await failure(BTC, feed)

    assert isinstance(error, UpstreamSilent)
    assert "/market" not in str(error).partition(": ")[2], "data did flow: the path is right"
    assert trio.current_time() == pytest.approx(60)
    assert feed.tally.last_alive_ms == testing.START_MS, "a pong must not hide the outage's start"


async def test_quiet_hours_are_no_outage_since_the_companion_says_how_far_the_data_reaches(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    at_ms = testing.START_MS + 3_600_000
    price = json.dumps({"e": "markPriceUpdate", "E": at_ms, "s": "BTCUSDT", "p": "50000.1"})
    says_the_time = testing.says(f'{{"stream":"{COMPANION}","data":{price}}}')
    feed = testing.feed(
        LIVES + testing.says(order(T=testing.START_MS)) + testing.waits(3600) + says_the_time
    )
    nursery.start_soon(force_orders, Config(["BTCUSDT"], silence=7200.0), feed)

    await trio.sleep(10)
    at_first = feed.ends_ms
    await trio.sleep(3600)

    assert at_first == testing.START_MS, "the only time that was told"
    assert feed.ends_ms == at_ms - 2000, "orders may be told a second late"
    nursery.cancel_scope.cancel()


# -- renewal --


async def test_a_connection_is_renewed_before_binance_ends_it() -> None:
    assert BTC.renew_every + BTC.renew_overlap < 24 * 3600


async def test_renewal_has_the_new_connection_up_before_the_old_one_closes(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACKNOWLEDGES + keeps_talking(1))
    config = Config(["BTCUSDT"], renew_every=100.0, renew_overlap=5.0)
    nursery.start_soon(force_orders, config, feed)

    open_at = []
    for seconds in (99, 3, 6, 192):
        await trio.sleep(seconds)
        open_at.append((trio.current_time(), feed.tally.connections, feed.tally.open))

    assert open_at == [(99, 1, 1), (102, 2, 2), (108, 2, 1), (300, 3, 1)]
    assert feed.tally.delivering
    nursery.cancel_scope.cancel()


async def test_renewal_loses_nothing_and_publishes_nothing_twice(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    async def tell(connection: testing.Connection) -> None:
        """What every connection of the same exchange tells at the same time."""
        while True:
            second = int(trio.current_time())
            await connection.say(PRICE)
            await connection.say(order(T=1700000000000 + second * 1000))
            await trio.sleep(second + 1 - trio.current_time())

    feed = testing.feed(ACKNOWLEDGES + testing.plays(tell))
    config = Config(["BTCUSDT"], renew_every=100.0, renew_overlap=5.0)
    nursery.start_soon(force_orders, config, feed)

    await trio.sleep(1000.5)

    seconds = [(one.time_ms - 1700000000000) // 1000 for one in feed.values]
    assert seconds == list(range(1001))
    assert feed.tally.connections > 8
    assert feed.tally.duplicates > 30
    nursery.cancel_scope.cancel()


async def test_a_successor_that_fails_leaves_the_old_connection_alone(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    works = ACKNOWLEDGES + keeps_talking(1)
    feed = testing.feed(works, testing.refuses(503), testing.unreachable(), works)
    config = Config(["BTCUSDT"], renew_every=100.0, renew_overlap=5.0)
    nursery.start_soon(force_orders, config, feed)

    await trio.sleep(150)
    during = (feed.tally.open, feed.tally.delivering)
    await trio.sleep(100)

    assert during == (1, True)
    assert len(feed.upstream.connections) == 4
    assert feed.tally.connections == 2
    assert feed.tally.open == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (testing.unreachable(), "cannot connect: nobody there"),
        (testing.refuses(451), "refused with HTTP 451"),
        (testing.hangs(), "no answer within 10s"),
        (LIVES + testing.drops(), "connection lost"),
        (
            LIVES + testing.closes(1008, "Too many requests"),
            "closed by upstream with 1008 Too many",
        ),
        (LIVES + testing.sends_garbage(), "closed by upstream with 1002"),
        (LIVES + testing.falls_silent(), "upstream silent for 60s"),
    ],
)
async def test_every_end_of_a_connection_is_weather_and_says_what_happened(
    script: testing.Script, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    feed = testing.feed(script)

    error = await failure(BTC, feed)

    assert isinstance(error, UpstreamError)
    assert words in str(error)
    assert feed.tally.open == 0
    assert not feed.tally.delivering


# -- what cannot be used --


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param("<html>502 Bad Gateway</html>", "not JSON", id="html"),
        pytest.param("", "not JSON", id="empty"),
        pytest.param(order()[:70], "not JSON", id="cut off"),
        pytest.param("[1,null,[]]", "not an object", id="list"),
        pytest.param("null", "not an object", id="null"),
        pytest.param('{"stream":1,"data":2}', "not an object", id="no event"),
        pytest.param('{"hello":"world"}', "unknown message", id="neither event nor answer"),
        pytest.param(order(st=2), "COIN-M", id="coin-margined"),
        pytest.param(order(s="BTCUSD_PERP", st=None), "COIN-M", id="perpetual without class"),
        pytest.param(order(S="HOLD"), "unknown side", id="side"),
        pytest.param(order(S=None), "unknown side", id="no side"),
        pytest.param(order(z="0"), "nothing filled", id="nothing filled"),
        pytest.param(order(ap="0.000"), "nothing filled", id="filled for nothing"),
        pytest.param(order(z="NaN"), "bad number", id="NaN"),
        pytest.param(order(ap="Infinity"), "bad number", id="infinite"),
        pytest.param(order(ap="1e5"), "bad number", id="exponent"),
        pytest.param(order(z="-1"), "bad number", id="negative"),
        pytest.param(order(z=0.1), "bad number", id="a number that is no string"),
        pytest.param(order(z=None), "bad number", id="no quantity"),
        pytest.param(order(T="soon"), "bad time", id="time"),
        pytest.param(order(T=-5), "bad time", id="before 1970"),
        pytest.param(order(s=None), "malformed", id="no symbol"),
        pytest.param(order(s=""), "malformed", id="empty symbol"),
        pytest.param('{"stream":"x","data":{"e":"forceOrder","o":[]}}', "malformed", id="no order"),
        pytest.param(
            '{"stream":"x","data":{"e":"brandNew"}}', "unknown event brandNew", id="new event"
        ),
    ],
)
async def test_what_cannot_be_used_is_counted_by_reason_and_never_published(
    frame: str, reason: str, autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(LIVES + testing.says(frame, order()))
    nursery.start_soon(force_orders, BTC, feed)

    await trio.sleep(1)

    assert feed.tally.dropped == {reason: 1}
    assert [one.symbol for one in feed.values] == ["BTCUSDT"], "the good one behind it arrives"
    nursery.cancel_scope.cancel()


async def test_an_order_seen_before_changes_nothing_however_its_numbers_are_padded(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(
        LIVES + testing.says(order(), order(), order(z="0.1000000", ap="50000.00"), order(z="0.2"))
    )
    nursery.start_soon(force_orders, BTC, feed)

    await trio.sleep(1)

    assert [str(one.quantity) for one in feed.values] == ["0.100", "0.2"]
    assert feed.tally.duplicates == 2
    nursery.cancel_scope.cancel()


def test_the_event_time_stands_in_for_a_missing_trade_time() -> None:
    assert liquidation(order(T=None)).time_ms == 1700000002000
    assert liquidation(order(T=0)).time_ms == 1700000002000


def test_symbols_need_not_be_ascii() -> None:
    found = liquidation(order(s="龙虾USDT"))

    assert found.symbol == "龙虾USDT"
    assert "龙虾USDT".encode() in codec.dumps(found)


# -- configuration --


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Config([]), "name at least one symbol"),
        (lambda: Config(["*", "BTCUSDT"]), "already means all"),
        (lambda: Config([f"A{n}" for n in range(1024)]), "at most 1023 fit"),
        (lambda: Config(["BTC USDT"]), "is no symbol"),
        (lambda: Config(["btcusdt@forceOrder"]), "is no symbol"),
        (lambda: Config(["BTCUSDT"], url="https://fstream.binance.com"), "expected"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    make: Callable[[], Config], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_connection_carries_1024_streams_with_the_companion() -> None:
    assert len(Config([f"A{n}" for n in range(1023)]).streams) + 1 == 1024


def test_the_plugin_brings_the_kind_binance_force_order() -> None:
    (source,) = [one for one in flowd_binance.flowd_sources() if one.kind == "binance-force-order"]

    assert source.record is Liquidation


# -- properties --

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["BUY", "SELL", "0.1", "-1", "NaN", "1e400", "BTCUSDT", "BTCUSD_PERP", "0"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
orders = st.fixed_dictionaries(
    {}, optional={key: values for key in ("s", "S", "z", "ap", "T", "st", "ps")}
)
events = st.fixed_dictionaries(
    {},
    optional={
        "e": st.one_of(st.just("forceOrder"), values),
        "E": values,
        "o": st.one_of(orders, values),
        "st": values,
    },
)
messages = st.one_of(
    st.text(),
    st.binary(),
    st.builds(json.dumps, values),
    st.builds(json.dumps, events),
    st.builds(lambda event: json.dumps({"stream": COMPANION, "data": event}), events),
    st.builds(json.dumps, st.fixed_dictionaries({"result": values, "id": values})),
)


@given(messages)
def test_whatever_comes_is_a_message_or_unusable(text: str | bytes) -> None:
    reason = ""
    try:
        stream, event = message(text)
    except Unusable as error:
        reason, stream, event = error.reason, None, {}

    assert reason in ("", "not JSON", "not an object")
    assert stream is None or isinstance(stream, str)
    assert isinstance(event, dict)


@given(events)
def test_whatever_event_comes_is_a_sound_liquidation_or_unusable(event: dict[str, Any]) -> None:
    try:
        found = forced_order(event)
    except Unusable:
        return

    assert found.side in ("BUY", "SELL")
    assert found.quantity > 0
    assert found.price > 0
    assert found.notional == found.quantity * found.price
    assert codec.loads(codec.dumps(found), Liquidation) == found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(messages, st.just(order())), max_size=5))
def test_no_message_is_fatal_but_binances_own_refusal(texts: list[str | bytes]) -> None:
    async def receive() -> None:
        feed = testing.feed(LIVES + testing.says(*texts) + testing.waits(1) + testing.drops())
        error = await failure(BTC, feed)
        assert isinstance(error, UpstreamError), repr(error)
        assert str(error).startswith(("Binance refused", "connection lost"))
        assert feed.tally.published == len(feed.values)

    trio.run(receive, clock=trio.testing.MockClock(autojump_threshold=0))
