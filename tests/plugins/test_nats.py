"""The sink `nats` without a server: its settings, and what it makes of what a server may say. What
it does with a real one is in tests/edge.
"""

import sys
from typing import Any

import pytest
import trio
from flowd_nats import Config, nats
from flowd_nats.jetstream import parsed, written
from flowd_nats.wire import Broken, Connection, Lines
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import Secret, UserError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"inputs": []}, "no inputs"),
        ({"url": "127.0.0.1:4222"}, "nats://127.0.0.1:4222"),
        ({"url": "nats://a:4222,nats://b:99999"}, "nats://127.0.0.1:4222"),
        ({"prefix": "a..b"}, "prefix"),
        ({"prefix": "market.>"}, "prefix"),
        ({"inputs": ["orders", ".hidden"]}, "cannot be a subject"),
        ({"storage": "disk"}, '"file" or "memory"'),
        ({"replicas": 6}, "1 to 5 replicas"),
        ({"messages": 0}, "from 1 up"),
        ({"timeout": 0.0}, "timeout"),
        ({"key": "our.key"}, "certificate"),
    ],
)
def test_a_setting_that_cannot_be_is_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**{"inputs": ["orders"], **settings})


def test_an_address_with_a_secret_in_it_is_not_shown() -> None:
    with pytest.raises(ValueError, match="expected an address") as told:
        Config(["orders"], "http://user:secret@host")

    assert "secret" not in str(told.value)


def test_credentials_without_what_signs_them_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nacl.signing", None)

    with pytest.raises(ValueError, match=r"pip install 'flowd-daemon\[nats\]'"):
        Config(["orders"], credentials=Secret("here", "SU"))


@pytest.mark.parametrize("text", ["", "SUAB", "-----BEGIN NATS USER JWT-----", "x" * 58])
async def test_credentials_that_are_none_are_told(text: str) -> None:
    config = Config(["orders"], credentials=Secret("here", text))

    with pytest.raises(UserError, match="credentials file, or the seed"):
        await nats(config, testing.streams(testing.stream("orders")), testing.desk())


def test_headers_come_back_as_they_were_written() -> None:
    headers = {"Nats-Msg-Id": "k3v9.1-2", "Flowd-Position": "k3v9.2"}

    assert parsed(written(headers)) == headers


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nnonsense",
        b"MSG\r\n",
        b"MSG _INBOX.x.0.0 1 many\r\n",
        b"MSG _INBOX.x.0.0 1 -5\r\n",
        b"MSG _INBOX.x.0.0 1 999999999999\r\n",
        b"MSG _INBOX.x.0.0 1 10\r\nhalf",
        b"HMSG _INBOX.x.0.0 1 11 11\r\nNATS/1.0 no\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b"\xff" * 100_000,
    ],
)
async def test_whatever_a_server_says_who_waits_is_told(said: bytes) -> None:
    ours, theirs = memory_stream_pair()
    connection = Connection(ours, {"max_payload": 1000})

    async def say() -> None:
        await wait_all_tasks_blocked()
        await theirs.send_all(said)
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.listen, Lines(ours))
        nursery.start_soon(say)
        with pytest.raises(Broken):
            await connection.ask("$JS.API.INFO")

    assert connection.broken


async def test_answers_find_who_asked_in_whichever_order_they_come() -> None:
    ours, theirs = memory_stream_pair()
    connection = Connection(ours, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.listen, Lines(ours))

        async def answer() -> None:
            await wait_all_tasks_blocked()
            for number in (1, 7, 0):
                await theirs.send_all(b"MSG _INBOX.x.0.%d 1 1\r\n%d\r\n" % (number, number))

        nursery.start_soon(answer)
        found = await connection.ask_all([("a", b"", b""), ("b", b"", b"")])
        nursery.cancel_scope.cancel()

    assert [one.body for one in found] == [b"0", b"1"]
