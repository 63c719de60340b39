"""A real daemon is followed in three ways, over all that can happen to it."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from flowd_client import Batch, Refused, Unfit
from msgspec import Struct

from tests.edge.exchange import Exchange
from tests.edge.process import Raw

from .conftest import Daemon, Start

pytestmark = pytest.mark.edge

Make = Callable[..., Daemon]
TOKEN = "a-token-of-some-length"
ROUNDS = 100
SLOW_S = 0.1


def seqs(batches: list[Batch[Any]]) -> list[int]:
    return [record.seq for batch in batches for record in batch.records]


def test_what_is_retained_comes_first_and_then_what_happens(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    followers = start(running.url)
    empty = [follower.wait() for follower in followers]
    position = running.reached(exchange.say(5)[-1])
    live = [follower.upto(5) for follower in followers]

    retained = [follower.upto(5) for follower in start(running.url)]

    for batch in empty:
        assert (batch.records, batch.first) == ((), True)
    for found in live:
        assert seqs(found) == [1, 2, 3, 4, 5]
        assert not any(batch.first or batch.gap or batch.reset for batch in found)
    for found in retained:
        assert seqs(found) == [1, 2, 3, 4, 5]
        assert [batch.first for batch in found] == [True] + [False] * (len(found) - 1)
        assert found[-1].position == position
        assert found[0].records[0].value["price"] == "1"
    for follower in followers:
        assert [status.state for status in follower.told] == ["connected"]


def test_a_position_filters_and_a_limit_say_what_comes(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    exchange.say(4, "ETHUSDT")
    exchange.say(4, "BTCUSDT")
    position = running.reached(exchange.say(4, "ETHUSDT")[-1])
    ninth = position.replace(".12", ".9")

    for follower in start(running.url, after=ninth):
        found = follower.upto(12)
        assert seqs(found) == [10, 11, 12]
        assert not any(batch.first for batch in found)
    for follower in start(running.url, symbol="ETHUSDT", min_notional=3):
        assert seqs(follower.upto(12)) == [3, 4, 9, 10, 11, 12]
    for follower in start(running.url, symbol=["BTCUSDT", "ETHUSDT"], limit=6):
        assert seqs(follower.upto(12)) == [7, 8, 9, 10, 11, 12]


def test_every_number_comes_once_over_kills_and_restarts(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    followers = start(running.url)
    found = [[follower.wait()] for follower in followers]

    for end in (running.kill, running.stop, running.kill):
        said = exchange.say(40)[-1]
        for follower, batches in zip(followers, found, strict=True):
            batches += follower.upto(said)
        end()
        running.start()
    said = exchange.say(40)[-1]

    for follower, batches in zip(followers, found, strict=True):
        batches += follower.upto(said)
        assert seqs(batches) == list(range(1, 161))
        assert [batch.first for batch in batches] == [True] + [False] * (len(batches) - 1)
        assert not any(batch.gap or batch.reset for batch in batches)
        assert follower.told[-1].state == "connected"
        assert follower.told[-1].reconnects == 3
        lost = [status for status in follower.told if status.state == "disconnected"]
        assert all(status.reason and status.retry_in_s for status in lost)
        assert "the daemon is stopping" in [status.reason for status in lost]


def test_records_that_fell_off_are_told_as_a_gap(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon(source={"retain": 20})
    position = running.reached(exchange.say(5)[-1])
    running.reached(exchange.say(95)[-1])

    for follower in start(running.url, after=position):
        found = follower.upto(100)
        assert found[0].gap == (6, 80)
        assert seqs(found) == list(range(81, 101))
        assert not any(batch.first or batch.reset or batch.gap for batch in found[1:])


def test_a_past_that_is_lost_is_told_as_a_reset(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    followers = start(running.url)
    said = exchange.say(5)[-1]
    held = [follower.upto(said)[-1].position for follower in followers]
    running.kill()
    for file in running.flowd.folder.glob("flowd.db*"):
        file.unlink()

    running.start()

    for follower, position in zip(followers, held, strict=True):
        anew = follower.wait()
        assert (anew.reset, anew.first, anew.records) == (True, True, ())
        assert anew.position.partition(".")[0] != position.partition(".")[0]
    exchange.say(1)
    for follower in followers:
        after = follower.wait()
        assert after.records[0].value["price"] == "6"
        assert not after.reset


def test_who_reads_slowly_is_told_and_so_is_all_that_was_lost(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon(source={"retain": 300}, send_buffer="4KiB", slow_consumer_timeout=f"{SLOW_S}s")
    followers = start(running.url)
    for follower in followers:
        assert follower.wait().first
        follower.open.clear()
    first = exchange.say(1)[-1]
    found = [follower.upto(first) for follower in followers]

    def stalled() -> bool:
        """Whether nobody reads on. Who is behind for an instant only is not by the second look."""
        looks = []
        for _ in range(2):
            looks.append(running.clients()["behind"])
            time.sleep(SLOW_S)
        return looks == [len(followers)] * 2

    running.reached(exchange.say(10_000)[-1])
    for _ in range(ROUNDS):
        # What is passed over fills no socket, so how much stalls all of them depends on how fast it
        # came.
        if stalled():
            break
        running.reached(exchange.say(1000)[-1])
    # Who had only to take the end of the last message would have missed nothing.
    said = exchange.say(1000)[-1]
    running.reached(said)
    for follower in followers:
        follower.open.set()

    for follower, batches in zip(followers, found, strict=True):
        batches += follower.upto(said)
        expected = 1
        for batch in batches:
            if batch.gap:
                assert batch.gap.first == expected
                expected = batch.gap.last + 1
            for record in batch.records:
                assert record.seq == expected
                expected += 1
        assert expected == said + 1
        assert any(batch.gap for batch in batches)
        slow = next(status for status in follower.told if status.state == "slow")
        assert slow.behind


def test_a_stream_that_is_locked_wants_its_token(start: Start, daemon: Make) -> None:
    token = Raw('{ env = "EDGE_READ_TOKEN" }')
    running = daemon(read_token=token, env={"EDGE_READ_TOKEN": TOKEN})

    for follower in start(running.url):
        with pytest.raises(Refused, match="give the token that it is read with") as none:
            follower.wait()
        assert none.value.status == 401
    for follower in start(running.url, token="another"):
        with pytest.raises(Refused, match="ask who runs the daemon") as wrong:
            follower.wait()
        assert wrong.value.code == "UNAUTHORIZED"
    for follower in start(running.url, token=TOKEN):
        assert follower.wait().first


def test_a_mistake_ends_it_and_says_what_would_have_been_right(start: Start, daemon: Make) -> None:
    running = daemon()

    for follower in start(running.url, "nope"):
        with pytest.raises(Refused, match=r"no stream 'nope'; it may be .*orders") as stream:
            follower.wait()
        assert stream.value.code == "UNKNOWN_STREAM"
    for follower in start(running.url, smybol="BTCUSDT"):
        with pytest.raises(Refused, match="min_notional") as filter:
            follower.wait()
        assert (filter.value.status, filter.value.parameter) == (400, "smybol")
    for follower in start(running.url, after="yesterday"):
        with pytest.raises(Refused, match="yesterday") as position:
            follower.wait()
        assert position.value.parameter == "after"
    for follower in start(running.url + "/elsewhere"):
        with pytest.raises(Refused, match='a sink of kind "sse"'):
            follower.wait()


class Order(Struct):
    symbol: str
    price: Decimal


class Wrong(Struct):
    symbol: int


def test_values_are_of_the_type_that_was_asked_for(
    start: Start, daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    running.reached(exchange.say(2)[-1])

    for follower in start(running.url, of=Order):
        values = [record.value for batch in follower.upto(2) for record in batch.records]
        assert values == [Order("BTCUSDT", Decimal(1)), Order("BTCUSDT", Decimal(2))]
    for follower in start(running.url, of=Wrong):
        with pytest.raises(Unfit, match=r"record 1 is not of .*Wrong.*symbol"):
            follower.wait()
