"""The sink `sse`: the bytes of its events, and sessions as a browser has them."""

from itertools import count

import flowd_sse
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import BadRequest, Batch, Gap, Position
from tests.plugins.served import BY_HAND, CONFIG, Order, batch, serving

BTC, ETH = Order("BTCUSDT"), Order("ETHUSDT", "SELL")


def body(visitor: testing.Client) -> str:
    """What came since it was last asked, without the response's head."""
    return visitor.news().decode().partition("\r\n\r\n")[2]


def test_each_record_is_an_event_whose_id_is_its_position() -> None:
    text = flowd_sse.events(batch(BTC, ETH)).decode()

    one, other, end = text.split("\n\n")
    assert one.startswith('id: test.1\ndata: {"seq":1,')
    assert other.startswith('id: test.2\ndata: {"seq":2,')
    assert end == ""


def test_a_line_break_in_a_value_does_not_end_the_event() -> None:
    text = flowd_sse.events(batch(Order("A\n\nB\r"))).decode()

    assert text.count("\n") == 3
    assert "\r" not in text


def test_a_gap_comes_first_and_its_id_is_where_it_ends() -> None:
    text = flowd_sse.events(batch(BTC, BTC, BTC, after=0, retain=1)).decode()

    gap, record, _ = text.split("\n\n")
    assert gap == 'event: gap\nid: test.2\ndata: {"first":1,"last":2}'
    assert record.startswith("id: test.3\n")


def test_a_reset_is_announced_without_an_id() -> None:
    whole = Batch("orders", [], Position("test", 9), True, None, reset=True)

    text = flowd_sse.events(whole).decode()

    assert text == 'event: reset\ndata: {"position":"test.9"}\n\nid: test.9\n\n'


def test_a_batch_without_records_still_moves_the_readers_place() -> None:
    hidden = Batch("orders", [], Position("test", 9), gap=Gap(3, 4))

    text = flowd_sse.events(hidden).decode()

    assert text.endswith("\n\nid: test.9\n\n")


def test_the_warning_says_how_far_behind() -> None:
    assert flowd_sse.slow("orders", 7) == (
        b'event: warning\ndata: {"code":"SLOW_CONSUMER","stream":"orders","behind":7}\n\n'
    )


async def test_a_browser_gets_the_head_the_retry_time_and_then_events(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        daemon.streams["orders"].append(BTC)

        visitor = daemon.connect("/sse/orders")
        opening = visitor.news().decode()
        daemon.streams["orders"].append(ETH)
        await wait_all_tasks_blocked()
        live = visitor.news().decode()

    assert opening.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert "\r\n\r\nretry: 2000\nid: " in opening
    assert '"seq":1,' in opening
    assert '"seq":2,' in live
    assert "retry" not in live


async def test_last_event_id_beats_the_address(autojump_clock: MockClock) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        orders = daemon.streams["orders"]
        for _ in range(4):
            orders.append(BTC)

        visitor = daemon.connect(
            f"/sse/orders?after={orders.epoch}.1&limit=1",
            headers={"last-event-id": f"{orders.epoch}.3"},
        )

        text = body(visitor)
        assert '"seq":4,' in text
        assert '"seq":3,' not in text
        assert "reset" not in text


async def test_the_last_event_id_of_another_life_is_a_reset_with_everything(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        daemon.streams["orders"].append(BTC)

        text = body(daemon.connect("/sse/orders", headers={"last-event-id": "0ld.5"}))

    assert "event: reset\n" in text
    assert '"seq":1,' in text


@pytest.mark.parametrize("foreign", ["42", "now", "k3v9m2xq.1; drop", "A.1", "." * 500])
async def test_an_id_of_another_service_is_a_reset_and_no_refusal(
    autojump_clock: MockClock, foreign: str
) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        daemon.streams["orders"].append(BTC)

        text = body(daemon.connect("/sse/orders", headers={"last-event-id": foreign}))

    assert "event: reset\n" in text
    assert '"seq":1,' in text


async def test_no_block_has_the_retry_time_alone(autojump_clock: MockClock) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        daemon.streams["orders"].append(BTC)

        text = body(daemon.connect("/sse/orders"))

    first, _, _ = text.partition("\n\n")
    assert first.startswith("retry: 2000\nid: ")
    assert "\ndata: {" in first


async def test_a_filter_hides_events_but_not_positions(autojump_clock: MockClock) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        orders = daemon.streams["orders"]
        orders.append(BTC)
        orders.append(ETH)

        text = body(daemon.connect("/sse/orders?symbol=BTCUSDT"))

        assert '"seq":1,' in text
        assert '"seq":2,' not in text
        assert text.endswith(f"id: {orders.epoch}.2\n\n")


@pytest.mark.parametrize(
    ("target", "headers", "parameter", "status"),
    [
        ("/sse/nope", {}, "stream", 404),
        ("/sse/orders?limit=many", {}, "limit", 400),
        ("/sse/orders?after=now", {}, "after", 400),
        ("/sse/orders?side=HOLD", {}, "side", 400),
        ("/sse/orders?colour=red", {}, "colour", 400),
    ],
)
async def test_a_wrong_question_is_refused_before_a_byte_is_sent(
    target: str,
    headers: dict[str, str],
    parameter: str,
    status: int,
    autojump_clock: MockClock,
) -> None:
    socket = testing.FakeSocket()
    async with serving(flowd_sse, "sse") as daemon:
        with pytest.raises(BadRequest) as refused:
            daemon.connect(target, headers=headers, socket=socket)

    assert refused.value.parameter == parameter
    assert refused.value.status == status
    assert not socket.taken


async def test_who_reads_too_slowly_is_warned_once_and_told_what_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_sse, "sse") as daemon:
        orders = daemon.streams["orders"]
        visitor = daemon.connect("/sse/orders")
        visitor.news()
        visitor.socket.blocks()
        for _ in range(9):
            orders.append(BTC)
            await wait_all_tasks_blocked()
        await trio.sleep(3)

        visitor.socket.recovers()
        await wait_all_tasks_blocked()

        text = visitor.news().decode()
        assert text.count("event: warning\n") == 1
        assert '"first":2,"last":4' in text, "1 was on its way already"
        assert text.count('\ndata: {"seq"') == 6


async def test_a_stop_in_the_middle_of_a_pass_waits_until_everybody_was_told(
    autojump_clock: MockClock,
) -> None:
    watch = count()
    registry = testing.registry(BY_HAND, flowd_sse)
    async with testing.daemon(
        CONFIG.format(kind="sse"), registry=registry, stopwatch=lambda: float(next(watch))
    ) as daemon:
        visitors = [daemon.connect("/sse/orders") for _ in range(1000)]

        daemon.streams["orders"].append(BTC)
        daemon.stop()
        await daemon.ended.wait()

    assert all(b'"seq":1,' in visitor.news() for visitor in visitors)
