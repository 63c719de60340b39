"""Where a Redis server is, and what its errors are called."""

import builtins
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from coredis import exceptions
from flowd_redis import refusals, server
from flowd_redis.server import Address

from flowd.plugin import UpstreamError


def one(host: str, port: int = 6379, db: int = 0, **more: Any) -> Address:
    return Address(((host, port),), db, **more)


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://redis.example", one("redis.example"), "redis.example:6379"),
        ("redis://127.0.0.1:7000/3", one("127.0.0.1", 7000, 3), "127.0.0.1:7000"),
        ("rediss://redis.example/0", one("redis.example", tls=True), "redis.example:6379"),
        ("redis://[::1]:7000", one("::1", 7000), "[::1]:7000"),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock"), "/run/redis.sock"),
        ("unix:///run/redis.sock?db=2", Address(db=2, path="/run/redis.sock"), "/run/redis.sock"),
        (
            "redis://me:p%40ss@redis.example",
            one("redis.example", username="me", password="p@ss"),
            "redis.example:6379",
        ),
        (
            "rediss://me:p%40ss@one:7000,two.example/3",
            Address((("one", 7000), ("two.example", 6379)), 3, True, None, "me", "p@ss"),
            "one:7000, two.example:6379",
        ),
    ],
)
def test_an_address_is_read_and_shown_without_what_is_secret(
    url: str, address: Address, shown: str
) -> None:
    assert Address.parse(url) == address
    assert str(Address.parse(url)) == shown
    assert "p@ss" not in repr(Address.parse(url))


def test_no_more_servers_are_named_than_can_be_asked() -> None:
    assert len(Address.parse(f"redis://{','.join(8 * 'a')}/0").hosts) == 8
    with pytest.raises(ValueError, match="expected an address"):
        Address.parse(f"redis://{','.join(9 * 'a')}/0")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis.example:6379",
        "http://redis.example",
        "redis://",
        "redis://a:port/0",
        "redis://a,/0",
    ],
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"url: expected an address such as redis://") as told:
        Address.parse(url)
    assert "a:port" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.ResponseError("OOM command not allowed"), "its memory is full"),
        (exceptions.WrongTypeError("Operation against"), "in the way: delete it"),
        (exceptions.ReadOnlyError("You can't write"), "name the primary, or all servers"),
        (exceptions.BusyLoadingError("loading"), "it is loading its data"),
        (exceptions.AuthorizationError("no permissions"), "its user may not do that"),
        (exceptions.AuthenticationRequiredError("HELLO must"), "it wants a password"),
        (exceptions.AuthenticationFailureError("invalid"), "no such user and password"),
        (exceptions.ResponseError("MISCONF Redis is"), "cannot save its data to disk"),
        (exceptions.ResponseError("DENIED Redis is"), "it is in protected mode, in which"),
        (exceptions.ResponseError("ERR something new"), "r:1 refuses: ERR something new"),
        (exceptions.ConnectionError("Connection lost!"), "cannot be reached: Connection lost!"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify failed"),
        (builtins.ConnectionRefusedError(111, "[x]"), "cannot be reached: connection refused;"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known; trying"),
    ],
)
def test_an_error_is_a_sentence_with_what_to_do(error: Exception, words: str) -> None:
    told = str(refusals.told(error, "r:1"))
    assert words in told
    assert told.startswith("r:1")


async def test_of_thousands_who_ask_each_has_its_own_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = server.Server(SimpleNamespace(), "r:1", timeout_s=5.0)  # type: ignore[arg-type]
    under_way = [0]
    most = 0

    async def answer() -> bytes:
        nonlocal most
        under_way[0] += 1
        most = max(most, under_way[0])
        await trio.sleep(1)
        under_way[0] -= 1
        return b"OK"

    async with trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(asked.ask, answer())

    assert most == server.AT_ONCE


async def test_who_goes_before_it_is_his_turn_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = server.Server(SimpleNamespace(), "r:1", timeout_s=5.0)  # type: ignore[arg-type]

    async def answer() -> bytes:
        await trio.sleep(3)
        return b"OK"

    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            for _ in range(2 * server.AT_ONCE):
                nursery.start_soon(asked.ask, answer())

    assert await asked.ask(answer()) == b"OK"


async def test_who_waits_while_no_primary_is_found_is_told_so_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    looked = 0

    async def dial(client: Any) -> Any:
        nonlocal looked
        looked += 1
        await trio.sleep(1)
        raise UpstreamError("none is a primary")

    asked = server.Server(SimpleNamespace(), "r:1", 5.0, dial, several=True)  # type: ignore[arg-type]

    async def answer() -> bytes:
        raise AssertionError("nobody is asked")

    async def ask() -> None:
        with pytest.raises(UpstreamError, match="none is a primary"):
            await asked.ask(answer())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(server.AT_ONCE):
            nursery.start_soon(ask)
    assert (looked, trio.current_time() - began) == (1, 1)

    await ask()
    assert looked == 2, "who comes later looks again"
