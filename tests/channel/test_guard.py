"""What a sink brought is called in one way, and may do what it likes."""

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flowd.channel.guard import LOG_EVERY_S, Guard, SinkFailed
from flowd.values.errors import BadRequest
from flowd.values.record import Batch, Position

BATCH: Batch[Any] = Batch("orders", [], Position("e", 0))


def breaks(*_: object) -> bytes:
    raise ValueError("a bug in a sink")


def leaves(*_: object) -> bytes:
    raise SystemExit("a sink that wants to go")


def refuses(*_: object) -> bytes:
    raise BadRequest("not like this", parameter="limit")


async def test_what_a_callback_answers_is_passed_on() -> None:
    guard = Guard()

    assert guard.call("/x", "prepare", lambda number: number + 1, 41) == 42
    assert guard.ask("/x", "tail", lambda: "tail") == "tail"
    assert guard.payload("/x", "warn", lambda name, behind: b"%d" % behind, "orders", 3) == b"3"
    assert guard.payloads("orders", lambda batch: b"one", BATCH) == [b"one"]
    assert guard.payloads("orders", lambda batch: [b"one", b"two"], BATCH) == [b"one", b"two"]


@pytest.mark.parametrize("callback", [breaks, leaves])
async def test_whatever_a_callback_raises_is_a_failure_of_the_sink(callback: Any) -> None:
    guard = Guard()

    for call in (guard.call, guard.ask, guard.payload):
        with pytest.raises(SinkFailed):
            call("/x", "open", callback)
    with pytest.raises(SinkFailed):
        guard.payloads("orders", callback, BATCH)

    assert guard.failures == 4


async def test_a_refusal_passes_where_a_client_is_answered() -> None:
    with pytest.raises(BadRequest, match="not like this"):
        Guard().ask("/x", "open", refuses)


async def test_a_refusal_is_a_failure_where_nobody_asked() -> None:
    with pytest.raises(SinkFailed):
        Guard().payloads("orders", refuses, BATCH)
    with pytest.raises(SinkFailed):
        Guard().payload("/x", "heartbeat", refuses)


@pytest.mark.parametrize("made", ["text", None, [b"one", "two"], 7])
async def test_what_is_no_bytes_is_a_failure_too(made: Any) -> None:
    with pytest.raises(SinkFailed):
        Guard().payloads("orders", lambda batch: made, BATCH)
    with pytest.raises(SinkFailed):
        Guard().payload("/x", "warn", lambda: made)


async def test_a_callback_that_goes_on_failing_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    guard = Guard()

    def fail(what: str) -> None:
        with pytest.raises(SinkFailed):
            guard.call("/x", what, breaks)

    with caplog.at_level(logging.ERROR, "flowd.sinks"):
        for _ in range(100):
            fail("encode")
        fail("warn")
        await trio.sleep(LOG_EVERY_S)
        fail("encode")

    told = [record.getMessage().partition(" failed")[0] for record in caplog.records]
    assert told == ["/x: a sink's encode", "/x: a sink's warn", "/x: a sink's encode"]
    assert "102 failures so far" in caplog.text
