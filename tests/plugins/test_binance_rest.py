"""Binance's REST calls: what they cost, what is obeyed, and what each refusal is called."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
import trio
from flowd_binance.rest import ATTEMPTS, TIMEOUT_S, Rejected, Rest, Unanswered, klines_weight
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing
from flowd.plugin import Answer, UpstreamError

UPSTREAM = Path(__file__).parents[1] / "frames"
HTML = "<html><head><title>403 Forbidden</title></head><body></body></html>"
Clock = trio.testing.MockClock
Nursery = trio.Nursery
Said = httpx2.Response | Exception | None


def recorded(name: str) -> str:
    return (UPSTREAM / f"binance_rest_{name}.jsonl").read_text(encoding="utf-8").strip()


class Exchange(httpx2.AsyncBaseTransport):
    """Answers each call with the next answer, and further ones with the last; None is silence."""

    def __init__(self, *answers: Said) -> None:
        self.answers: Sequence[Said] = answers
        self.asked: list[tuple[float, httpx2.URL]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append((trio.current_time(), request.url))
        await trio.lowlevel.checkpoint()
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        body = httpx2.ByteStream(answer.content)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=body)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.asked]


def says(status: int, text: str = "[]", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=named, text=text)


def rest(exchange: Exchange, weight: int = 2400) -> Rest:
    feed = testing.feed(rest=testing.rest(exchange))
    budget = feed.budget("binance", per_minute=weight)
    return Rest("https://exchange", feed.http, budget, testing.clock)


async def ask(exchange: Exchange, limit: int = 100) -> list[object]:
    return await rest(exchange).klines("BTCUSDT", "5m", limit=limit)


# -- calls --


@pytest.mark.parametrize(
    ("limit", "weight"),
    [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)],
)
def test_klines_cost_what_binance_documents(limit: int, weight: int) -> None:
    assert klines_weight(limit) == weight


async def test_rows_come_as_they_were_sent(autojump_clock: Clock) -> None:
    exchange = Exchange(says(200, recorded("klines_last_row_open")))

    rows = await rest(exchange).klines("BTCUSDT", "1m", limit=5, start_ms=1790487840000)

    assert len(rows) == 5
    ((_, url),) = exchange.asked
    assert url.path == "/fapi/v1/klines"
    assert dict(url.params) == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "limit": "5",
        "startTime": "1790487840000",
    }


async def test_the_servers_own_count_is_believed(autojump_clock: Clock) -> None:
    calls = rest(Exchange(says(200, X_MBX_USED_WEIGHT_1M="1999"), says(200)), weight=2000)
    await calls.klines("BTCUSDT", "5m", limit=50)
    assert calls.budget.used == 1999

    await calls.klines("BTCUSDT", "5m", limit=50)
    await calls.klines("BTCUSDT", "5m", limit=50)

    assert trio.current_time() == 60


@pytest.mark.parametrize("header", ["-1", "many", "", "\u0661"])
async def test_a_nonsensical_count_is_ignored(header: str, autojump_clock: Clock) -> None:
    answer = httpx2.Response(200, headers=[(b"X-MBX-USED-WEIGHT-1M", header.encode())], text="[]")

    assert await ask(Exchange(answer)) == []


async def test_429_is_obeyed_for_as_long_as_it_says(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(says(429, '{"code":-1003,"msg":"Too many"}', Retry_After="37"), says(200))

    with caplog.at_level(logging.WARNING, "flowd.binance"):
        assert await ask(exchange) == []

    assert exchange.times[0] == 0
    assert 37 <= exchange.times[1] < 38
    assert caplog.messages == ["Binance: asked too much (HTTP 429); asking again in 37s"]


async def test_while_one_call_is_refused_all_others_wait_too(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    exchange = Exchange(says(418, "{}", Retry_After="120"), says(200))
    calls = rest(exchange)

    async def klines() -> None:
        await calls.klines("BTCUSDT", "5m", limit=10)

    for _ in range(3):
        nursery.start_soon(klines)
    await trio.sleep(119)
    asked_before_it_was_over = [time for time in exchange.times if time > 0]
    await trio.sleep(10)

    assert asked_before_it_was_over == []
    assert len(exchange.times) >= 4


async def test_a_ban_without_retry_after_lasts_as_long_as_its_text_says(
    autojump_clock: Clock,
) -> None:
    until_ms = testing.START_MS + 90_000
    ban = recorded("ban_2026").replace("1785050129644", str(until_ms))
    exchange = Exchange(says(418, ban), says(200))

    await ask(exchange)

    assert 90 <= exchange.times[1] < 91


async def test_a_refusal_that_does_not_say_how_long_is_obeyed_for_a_minute(
    autojump_clock: Clock,
) -> None:
    exchange = Exchange(says(429, HTML, Retry_After="soon"), says(200))

    await ask(exchange)

    assert 60 <= exchange.times[1] < 61


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_an_overloaded_exchange_is_asked_again(status: int, autojump_clock: Clock) -> None:
    exchange = Exchange(says(status, HTML), says(status, "{}"), says(200))

    assert await ask(exchange) == []
    assert len(exchange.asked) == 3


async def test_each_wait_is_twice_as_long_and_up_to_a_second_more_by_chance(
    autojump_clock: Clock,
) -> None:
    exchange = Exchange(says(503), says(503), says(503), says(200))

    await ask(exchange)

    waits = [later - earlier for earlier, later in pairwise(exchange.times)]
    assert [int(wait) for wait in waits] == [1, 2, 4]
    assert len({wait % 1 for wait in waits}) == 3


async def test_what_is_tried_again_is_paid_for_again(autojump_clock: Clock) -> None:
    calls = rest(Exchange(says(503), says(200)))

    await calls.klines("BTCUSDT", "5m", limit=1500)

    assert calls.budget.used == 20


async def test_an_exchange_that_stays_down_is_given_up_with_words(autojump_clock: Clock) -> None:
    exchange = Exchange(says(503, HTML))

    with pytest.raises(Unanswered, match=r"overloaded or down \(HTTP 503\): not JSON: '<html>"):
        await ask(exchange)

    assert len(exchange.asked) == ATTEMPTS
    assert trio.current_time() < 60


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(403, HTML), r"firewall refuses this address \(HTTP 403\): not JSON: '<html>"),
        (says(451, '{"code":0,"msg":"Service unavailable"}'), r"region \(HTTP 451\): 0 Service"),
        (says(302, ""), r"unexpected HTTP 302; is rest_url right\?"),
        (says(200, '{"symbol":"BTCUSDT"}'), "expected a list of klines, got"),
    ],
)
async def test_what_will_not_get_better_at_once_is_said_and_not_tried_again(
    answer: httpx2.Response, words: str, autojump_clock: Clock
) -> None:
    exchange = Exchange(answer)

    with pytest.raises(UpstreamError, match=words) as caught:
        await ask(exchange)

    assert not isinstance(caught.value, Unanswered)
    assert len(exchange.asked) == 1


async def test_a_wrong_question_is_rejected_in_binances_words(autojump_clock: Clock) -> None:
    exchange = Exchange(says(400, recorded("invalid_symbol")))

    with pytest.raises(Rejected, match=r"refused \(HTTP 400\): -1121 Invalid symbol"):
        await ask(exchange)

    assert len(exchange.asked) == 1


async def test_html_where_json_should_be_is_asked_for_again(autojump_clock: Clock) -> None:
    exchange = Exchange(says(200, HTML), says(200))

    assert await ask(exchange) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: None, "no answer within 10s"),
        (lambda: httpx2.ConnectError("nobody there"), "cannot be asked: nobody there"),
        (lambda: httpx2.ReadError(""), "cannot be asked: ReadError"),
    ],
)
async def test_a_broken_connection_is_tried_again_and_then_told(
    fault: Callable[[], Said], words: str, autojump_clock: Clock
) -> None:
    exchange = Exchange(fault())

    with pytest.raises(Unanswered, match=words):
        await ask(exchange)

    assert len(exchange.asked) == ATTEMPTS


async def test_nothing_is_printed_when_a_call_is_tried_again(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask(Exchange(says(503), says(200)))

    assert capsys.readouterr() == ("", "")


@given(body=st.binary(max_size=200), status=st.sampled_from([400, 403, 418, 429, 451, 500]))
def test_no_body_of_a_refusal_is_a_bug(body: bytes, status: int) -> None:
    async def main() -> UpstreamError:
        return rest(Exchange())._refusal(Answer(status, {}, body))

    assert isinstance(trio.run(main), UpstreamError)


class Endless(httpx2.AsyncByteStream):
    """A body that never ends: a piece, a while, and the next."""

    def __init__(self, piece: bytes, every_s: float = 0.0) -> None:
        self.piece = piece
        self.every_s = every_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(1000):
            await trio.sleep(self.every_s)
            yield self.piece
        raise AssertionError("somebody reads this to its end")


def answering(body: Endless) -> Rest:
    feed = testing.feed(rest=testing.rest({"/fapi/v1/klines": testing.Reply(body=body)}))
    budget = feed.budget("binance", per_minute=2400)
    return Rest("http://there", feed.http, budget, testing.clock)


async def test_binance_has_ten_seconds_for_its_whole_answer(autojump_clock: Clock) -> None:
    calls = answering(Endless(b" ", every_s=4.0))
    began = trio.current_time()

    with pytest.raises(Unanswered, match="within 10s"):
        await calls.klines("BTCUSDT", "5m", limit=10)

    took_s = trio.current_time() - began
    assert ATTEMPTS * TIMEOUT_S <= took_s < ATTEMPTS * TIMEOUT_S + 15


async def test_a_body_that_is_too_large_is_an_upstream_s_fault(autojump_clock: Clock) -> None:
    calls = answering(Endless(bytes(1_000_000)))

    with pytest.raises(UpstreamError, match="is rest_url right"):
        await calls.klines("BTCUSDT", "5m", limit=10)
