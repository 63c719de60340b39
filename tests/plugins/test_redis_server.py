"""Where a Redis server is, and what its errors are called."""

import builtins
import ssl

import pytest
from coredis import exceptions
from flowd_redis import server
from flowd_redis.server import Address


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://redis.example", Address("redis.example"), "redis.example:6379"),
        ("redis://127.0.0.1:7000/3", Address("127.0.0.1", 7000, 3), "127.0.0.1:7000"),
        ("rediss://redis.example/0", Address("redis.example", tls=True), "redis.example:6379"),
        ("redis://[::1]:7000", Address("::1", 7000), "[::1]:7000"),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock"), "/run/redis.sock"),
        ("unix:///run/redis.sock?db=2", Address(db=2, path="/run/redis.sock"), "/run/redis.sock"),
        (
            "redis://me:p%40ss@redis.example",
            Address("redis.example", username="me", password="p@ss"),
            "redis.example:6379",
        ),
    ],
)
def test_an_address_is_read_and_shown_without_what_is_secret(
    url: str, address: Address, shown: str
) -> None:
    assert Address.parse(url) == address
    assert str(Address.parse(url)) == shown
    assert "p@ss" not in repr(Address.parse(url))


@pytest.mark.parametrize(
    "url", ["", "redis.example:6379", "http://redis.example", "redis://", "redis://a:port/0"]
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
        (exceptions.ReadOnlyError("You can't write"), "name the master"),
        (exceptions.BusyLoadingError("loading"), "it is loading its data"),
        (exceptions.AuthorizationError("no permissions"), "its user may not do that"),
        (exceptions.AuthenticationRequiredError("HELLO must"), "it wants a password"),
        (exceptions.AuthenticationFailureError("invalid"), "no such user and password"),
        (exceptions.ResponseError("MISCONF Redis is"), "cannot save its data to disk"),
        (exceptions.ResponseError("ERR something new"), "r:1 refuses: ERR something new"),
        (exceptions.ConnectionError("Connection lost!"), "cannot be reached: Connection lost!"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify failed"),
        (builtins.ConnectionRefusedError(111, "[x]"), "cannot be reached: connection refused;"),
    ],
)
def test_an_error_is_a_sentence_with_what_to_do(error: Exception, words: str) -> None:
    told = str(server.told(error, "r:1"))
    assert words in told
    assert told.startswith("r:1")
