"""The webhook against receivers of every temper: up, down, slow, busy, and gone for good."""

import hmac
import json
import logging
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from typing import Any

import flowd_webhook
import httpx2
import pytest
import trio
from attrs import evolve, frozen
from flowd_webhook import Config, webhook
from flowd_webhook.signature import sign, verify

from flowd import testing
from flowd.plugin import Seconds, Secret, Source, UserError
from flowd.stream.held import Behind
from flowd.stream.log import Stream

SECRET = Secret("a test", "open sesame")
HOOK = Config("https://receiver.example/hook/s3cr3t", input="alerts", start="oldest")
EACH = evolve(HOOK, each=True)

Clock = trio.testing.MockClock
Nursery = trio.Nursery
Reply = Callable[[], httpx2.Response]


@frozen
class Alert:
    symbol: str
    value: int


class Receiver(httpx2.AsyncBaseTransport):
    """Notes what it is sent. Answers 200 or what it is told to: a status, an error, or nothing."""

    def __init__(self, *answers: int | Exception | httpx2.Response | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[float, httpx2.Request]] = []
        self.taken: list[Any] = []
        """The bodies that were answered with 200."""
        self.always: int | Exception | httpx2.Response | None = 200

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append((trio.current_time(), request))
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if self.answers else self.always
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        assert answer is not None
        if answer == 200:
            self.taken.append(json.loads(request.content))
        return says(answer)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for _, request in self.requests]

    @property
    def positions(self) -> list[str]:
        """All records that were taken, in the order in which they came."""
        items = [item for body in self.taken for item in (body if type(body) is list else [body])]
        return [item.get("position", "gap") for item in items]


def says(status: int, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    # As from the wire: a response with content would count as read already.
    return httpx2.Response(status, headers=named, stream=httpx2.ByteStream(b"thanks"))


class Rig:
    """A stream of alerts, and a webhook that delivers it, with a place that outlives it."""

    def __init__(self, nursery: Nursery, receiver: Receiver, config: Config = HOOK) -> None:
        self.alerts: Stream[Any] = testing.stream("alerts", record=Alert, retain=500)
        self.alerts.held.limit = Behind(count=0)  # Else it takes 200 000 for a gap.
        self.places: dict[str, int] = {}
        self.config = config
        self.receiver = receiver
        self.desk = testing.desk("sink", rest=receiver)
        self._nursery = nursery
        self._scope = trio.CancelScope()

    def happen(self, count: int = 1, symbol: str = "BTCUSDT") -> None:
        for _ in range(count):
            self.alerts.append(Alert(symbol, self.alerts.seq + 1))

    def start(self) -> None:
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._run, self._scope)

    def stop(self) -> None:
        self._scope.cancel()

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            await self.run()

    async def run(self) -> None:
        streams = testing.streams(self.alerts, places=self.places)
        await webhook(self.config, streams, self.desk)


def positions(first: int, last: int) -> list[str]:
    return [f"test.{seq}" for seq in range(first, last + 1)]


# -- what is sent --


async def test_records_are_sent_as_a_list_in_order(autojump_clock: Clock, nursery: Nursery) -> None:
    rig = Rig(nursery, Receiver())
    rig.happen(3)
    rig.start()
    await trio.sleep(0.5)

    (body,) = rig.receiver.taken
    assert body[0] == {
        "stream": "alerts",
        "position": "test.1",
        "seq": 1,
        "time_ms": testing.START_MS,
        "value": {"symbol": "BTCUSDT", "value": 1},
    }
    assert rig.receiver.positions == positions(1, 3)
    ((_, request),) = rig.receiver.requests
    assert request.method == "POST"
    assert str(request.url) == HOOK.url
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == "alerts:test.1-3"
    assert "Flowd-Signature" not in request.headers
    nursery.cancel_scope.cancel()


async def test_what_comes_later_is_sent_when_it_comes_but_not_too_often(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, every=Seconds(10.0)))
    rig.start()
    for _ in range(30):
        rig.happen()
        await trio.sleep(1)

    assert rig.receiver.times == [0, 10, 20]
    assert rig.receiver.positions == positions(1, 21)
    nursery.cancel_scope.cancel()


async def test_a_backlog_is_sent_in_bounded_lists_one_after_the_other(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, batch=40))
    rig.happen(100)
    rig.start()
    await trio.sleep(0.5)

    assert [len(body) for body in rig.receiver.taken] == [40, 40, 20]
    assert rig.receiver.positions == positions(1, 100)
    nursery.cancel_scope.cancel()


async def test_each_record_can_be_sent_by_itself(autojump_clock: Clock, nursery: Nursery) -> None:
    rig = Rig(nursery, Receiver(), EACH)
    rig.happen(3)
    rig.start()
    await trio.sleep(0.5)

    assert [body["seq"] for body in rig.receiver.taken] == [1, 2, 3]
    assert rig.receiver.keys == ["alerts:test.1", "alerts:test.2", "alerts:test.3"]
    nursery.cancel_scope.cancel()


async def test_large_records_make_several_bodies(autojump_clock: Clock, nursery: Nursery) -> None:
    rig = Rig(nursery, Receiver())
    rig.happen(5, symbol="X" * 400_000)
    rig.start()
    await trio.sleep(0.5)

    assert [len(body) for body in rig.receiver.taken] == [2, 2, 1]
    assert rig.receiver.keys == ["alerts:test.1-2", "alerts:test.3-4", "alerts:test.5"]
    nursery.cancel_scope.cancel()


async def test_only_what_the_filter_wants_is_sent(autojump_clock: Clock, nursery: Nursery) -> None:
    wanted = {"symbol": ["BTCUSDT", "SOLUSDT"], "min_value": 3}
    rig = Rig(nursery, Receiver(), evolve(HOOK, filter=wanted))
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ETHUSDT", "BTCUSDT"):
        rig.happen(symbol=symbol)
    rig.start()
    await trio.sleep(0.5)

    assert rig.receiver.positions == ["test.3", "test.5"]
    nursery.cancel_scope.cancel()


async def test_where_the_filter_wants_nothing_nothing_is_sent_and_the_place_moves_on(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, filter={"symbol": "NOUSDT"}))
    rig.happen(5)
    rig.start()
    await trio.sleep(0.5)

    assert rig.receiver.requests == []
    assert rig.places == {"alerts": 5}
    nursery.cancel_scope.cancel()


async def test_several_streams_are_each_delivered_in_their_order_and_none_holds_up_another(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    class Picky(Receiver):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.headers["Idempotency-Key"].startswith("slow"):
                await trio.sleep_forever()
            return await super().handle_async_request(request)

    receiver = Picky()
    slow, quick = (testing.stream(name, [Alert("A", 1)] * 3) for name in ("slow", "quick"))
    config = evolve(HOOK, input=None, inputs=["slow", "quick"])
    desk = testing.desk(rest=receiver)
    nursery.start_soon(webhook, config, testing.streams(slow, quick), desk)
    await trio.sleep(5)

    assert receiver.keys == ["quick:test.1-3"]
    nursery.cancel_scope.cancel()


# -- where it begins --


async def test_the_first_time_it_begins_with_what_is_new(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, start="now"))
    rig.happen(5)
    rig.start()
    await trio.sleep(0.5)
    rig.happen(2)
    await trio.sleep(2)

    assert rig.receiver.positions == positions(6, 7)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("start", ["now", "oldest"])
async def test_after_a_restart_it_goes_on_where_it_was(
    start: str, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, start=start))
    rig.start()
    await trio.sleep(2)
    rig.happen(5)
    await trio.sleep(2)
    rig.stop()
    rig.happen(3)
    rig.start()
    await trio.sleep(2)

    assert rig.receiver.positions == positions(1, 8)
    nursery.cancel_scope.cancel()


async def test_it_ends_with_its_streams_when_all_is_delivered(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(503))
    rig.happen(150)
    rig.alerts.close()

    await rig.run()

    assert rig.receiver.positions == positions(1, 150)


# -- a receiver that fails --


@pytest.mark.parametrize(
    "fault",
    [500, 502, 503, 408, 429, None, httpx2.ConnectError("nobody there"), httpx2.ReadError("")],
    ids=str,
)
async def test_what_was_not_taken_is_sent_again_under_the_same_key(
    fault: int | Exception | None, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(fault, fault))
    rig.happen(3)
    rig.start()
    await trio.sleep(60)

    assert rig.receiver.keys == ["alerts:test.1-3"] * 3
    assert rig.receiver.positions == positions(1, 3)
    nursery.cancel_scope.cancel()


async def test_a_receiver_that_is_down_for_a_day_is_tried_at_least_every_minute_and_gets_it_all(
    autojump_clock: Clock, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(nursery, Receiver())
    rig.receiver.always = 503
    rig.start()
    rig.happen(300)
    with caplog.at_level(logging.INFO, "flowd.webhook"):
        await trio.sleep(86_400)
        tried = len(rig.receiver.requests)
        rig.receiver.always = 200
        await trio.sleep(70)

    assert 1400 < tried < 1500
    assert rig.receiver.positions == positions(1, 300)
    assert caplog.messages == [
        "webhook receiver.example: HTTP 503; trying until it answers",
        "webhook receiver.example: answers again",
    ]
    nursery.cancel_scope.cancel()


async def test_the_waits_grow_to_the_most_that_is_configured(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, retry_max=Seconds(20.0)))
    rig.receiver.always = httpx2.ConnectError("nobody there")
    rig.happen()
    rig.start()
    await trio.sleep(300)

    waits = [later - earlier for earlier, later in pairwise(rig.receiver.times)]
    assert waits[0] <= 2.1
    assert max(waits) < 20.1
    assert waits[-1] == pytest.approx(20)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "text", "wait_s"),
    [
        (429, "37", 37),
        (503, "120", 120),
        (503, "Tue, 14 Nov 2023 22:15:00 GMT", 100),
        (429, "0", 1),
    ],
)
async def test_a_receiver_that_says_when_is_not_asked_before(
    status: int, text: str, wait_s: float, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(says(status, Retry_After=text)))
    rig.happen()
    rig.start()
    await trio.sleep(200)

    assert rig.receiver.times == [0, pytest.approx(wait_s, abs=0.1)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", ["1000000", "Tue, 14 Nov 2045 22:15:00 GMT"])
async def test_no_retry_after_keeps_us_waiting_for_more_than_an_hour(
    text: str, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(says(503, Retry_After=text)))
    rig.happen()
    rig.start()
    await trio.sleep(5000)

    assert rig.receiver.times == [0, 3600]
    nursery.cancel_scope.cancel()


async def test_a_receiver_that_is_a_teapot_refuses(autojump_clock: Clock, nursery: Nursery) -> None:
    rig = Rig(nursery, Receiver(418))
    rig.happen()
    rig.start()
    await trio.sleep(100)

    assert len(rig.receiver.requests) == 1
    assert rig.desk.tally.dropped == {"refused: HTTP 418": 1}
    nursery.cancel_scope.cancel()


async def test_what_fell_off_while_the_receiver_was_down_is_told_as_a_gap(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver())
    rig.receiver.always = 503
    rig.start()
    rig.happen(10)
    await trio.sleep(5)
    rig.happen(600)
    await trio.sleep(5)
    rig.receiver.always = 200
    await trio.sleep(300)

    first, second = rig.receiver.taken[:2]
    assert [item["position"] for item in first] == positions(1, 10)
    assert second[0] == {"stream": "alerts", "gap": {"first": 11, "last": 110}}
    assert second[1]["position"] == "test.111"
    assert rig.receiver.positions == [*positions(1, 10), "gap", *positions(111, 610)]
    assert rig.receiver.keys[-5] == "alerts:test.11-210"
    nursery.cancel_scope.cancel()


async def test_where_each_record_is_sent_by_itself_a_gap_is_too(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), EACH)
    rig.happen(5)
    rig.start()
    await trio.sleep(1)
    rig.stop()
    rig.happen(600)
    rig.start()
    await trio.sleep(1)

    assert rig.receiver.taken[5] == {"stream": "alerts", "gap": {"first": 6, "last": 105}}
    assert rig.receiver.keys[5:7] == ["alerts:test.6-105", "alerts:test.106"]
    nursery.cancel_scope.cancel()


async def test_what_was_not_answered_before_a_stop_is_sent_again_after_it(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(None))
    rig.happen(3)
    rig.start()
    await trio.sleep(5)
    rig.stop()
    await trio.sleep(1)
    assert rig.places == {}

    rig.start()
    await trio.sleep(5)

    assert rig.receiver.keys == ["alerts:test.1-3"] * 2
    assert rig.receiver.positions == positions(1, 3)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 413, 422])
async def test_what_the_receiver_will_never_take_is_counted_and_let_go(
    status: int, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(status))
    rig.happen(3)
    rig.start()
    await trio.sleep(2)
    rig.happen(2)
    await trio.sleep(5)

    assert rig.receiver.keys == ["alerts:test.1-3", "alerts:test.4-5"]
    assert rig.receiver.positions == positions(4, 5)
    assert rig.desk.tally.dropped == {f"refused: HTTP {status}": 3}
    assert rig.desk.tally.published == 2
    nursery.cancel_scope.cancel()


async def test_a_receiver_that_is_gone_for_good_is_logged_once_a_minute(
    autojump_clock: Clock, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(nursery, Receiver(), EACH)
    rig.receiver.always = 410
    rig.start()
    with caplog.at_level(logging.INFO, "flowd"):
        for _ in range(120):
            rig.happen()
            await trio.sleep(1)

    assert len(rig.receiver.requests) == 120
    assert caplog.messages[0] == "sink: dropped (refused: HTTP 410, 1 so far): 'alerts:test.1'"
    assert len(caplog.messages) == 2
    nursery.cancel_scope.cancel()


async def test_an_answer_without_end_is_not_read_to_its_end(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    class Endless(httpx2.AsyncByteStream):
        def __aiter__(self) -> "Endless":
            return self

        async def __anext__(self) -> bytes:
            await trio.lowlevel.checkpoint()
            return b"x" * 1024

        async def aclose(self) -> None:
            pass

    rig = Rig(nursery, Receiver(httpx2.Response(200, stream=Endless())))
    rig.happen(1)
    rig.start()
    await trio.sleep(2)
    rig.happen(1)
    await trio.sleep(2)

    assert rig.receiver.keys == ["alerts:test.1", "alerts:test.2"]
    nursery.cancel_scope.cancel()


# -- the signature --


async def test_a_body_is_signed_anew_for_each_attempt(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(says(503, Retry_After="400")), evolve(HOOK, secret=SECRET))
    rig.happen(2)
    rig.start()
    await trio.sleep(500)

    for time, request in rig.receiver.requests:
        header, now_ms = request.headers["Flowd-Signature"], testing.START_MS + round(time * 1000)
        assert header.startswith(f"t={now_ms},v1=")
        assert verify("open sesame", header, request.content, now_ms)
    assert len(rig.receiver.requests) == 2
    nursery.cancel_scope.cancel()


def test_a_receiver_can_verify_with_what_every_language_has() -> None:
    body = b'[{"stream":"alerts"}]'
    header = sign("open sesame", body, 1700000000000)

    expected = hmac.new(b"open sesame", b"1700000000000." + body, sha256).hexdigest()

    assert header == f"t=1700000000000,v1={expected}"


@pytest.mark.parametrize(
    ("secret", "header", "body", "now_ms"),
    [
        ("other", None, b"body", 1000),
        ("secret", None, b"another body", 1000),
        ("secret", None, b"body", 1000 + 300_001),
        ("secret", None, b"body", 1000 - 300_001),
        ("secret", "", b"body", 1000),
        ("secret", "t=1000", b"body", 1000),
        ("secret", "t=x,v1=00", b"body", 1000),
        ("secret", "t=1000,v1=é", b"body", 1000),
    ],
)
def test_what_is_not_ours_or_not_fresh_is_refused(
    secret: str, header: str | None, body: bytes, now_ms: int
) -> None:
    made = sign("secret", b"body", 1000)
    assert verify("secret", made, b"body", 1000)

    assert not verify(secret, made if header is None else header, body, now_ms)


async def test_no_log_line_holds_a_secret(
    autojump_clock: Clock, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    url = Secret("a test", str(HOOK.url))
    rig = Rig(nursery, Receiver(503, 410), evolve(HOOK, url=url, secret=SECRET))
    with caplog.at_level(logging.INFO, "flowd"):
        rig.happen()
        rig.start()
        await trio.sleep(10)

    assert "receiver.example" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert "sesame" not in caplog.text
    nursery.cancel_scope.cancel()


async def test_nothing_is_printed(
    autojump_clock: Clock, nursery: Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig(nursery, Receiver(503, 503))
    rig.happen()
    rig.start()
    await trio.sleep(30)

    assert capsys.readouterr() == ("", "")
    nursery.cancel_scope.cancel()


# -- the configuration --


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": None}, "neither input nor inputs"),
        ({"url": "receiver.example"}, "url: expected an address"),
        ({"url": "ftp://receiver.example"}, "url: expected an address"),
        ({"url": "https://"}, "url: expected an address"),
        ({"batch": 0}, "batch = 0"),
        ({"batch": 1001}, "expected 1 to 1000"),
        ({"start": "yesterday"}, 'expected "now" or "oldest"'),
        ({"timeout": 0}, "timeout from"),
        ({"retry_max": 0}, "retry_max from"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_words(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        evolve(HOOK, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret": Secret("environment variable X", None)}, "environment variable X is not set"),
        ({"url": Secret("file /hook", None)}, "file /hook is not set"),
        ({"url": Secret("file /hook", "nonsense")}, "url: expected an address"),
        ({"filter": {"colour": "red"}}, "filter.colour: no filter is called 'colour' here"),
    ],
)
async def test_what_is_found_out_at_the_start_is_said_with_words(
    change: dict[str, Any], words: str, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig = Rig(nursery, Receiver(), evolve(HOOK, **change))

    with pytest.raises(UserError, match=words):
        await rig.run()


# -- in a daemon --

CONFIG = """
[sources.alerts]
kind = "ticks"

[sinks.hook]
kind = "webhook"
url = "https://receiver.example/"
input = "alerts"
start = "oldest"
filter = { min_value = 1 }
every = "100ms"
"""


@pytest.mark.parametrize("crash", [False, True])
async def test_a_daemon_that_comes_back_delivers_all_at_least_once(
    crash: bool, autojump_clock: Clock
) -> None:
    @frozen
    class Nothing:
        pass

    async def ticks(config: Nothing, feed: Any) -> None:
        while True:
            feed.publish(Alert("BTCUSDT", len(feed.records()) + 1))
            await trio.sleep(1)

    receiver = Receiver()

    class Plugin:
        @staticmethod
        def flowd_sources() -> list[Source]:
            return [Source("ticks", ticks, Nothing, record=Alert)]

        @staticmethod
        def flowd_sinks() -> list[Any]:
            return flowd_webhook.flowd_sinks()

    store = testing.MemoryStore()
    kinds, rest = testing.registry(Plugin), receiver
    async with testing.daemon(CONFIG, registry=kinds, rest=rest, store=store, crash=crash):
        await trio.sleep(8)
        receiver.always = 503
        await trio.sleep(5.5)
    receiver.always = 200
    async with testing.daemon(CONFIG, registry=kinds, rest=rest, store=store):
        await trio.sleep(30)

    taken = [item["value"]["value"] for body in receiver.taken for item in body]
    assert set(range(1, max(taken) + 1)) == set(taken)
    assert max(taken) > 30
    if not crash:
        assert taken == sorted(set(taken))
