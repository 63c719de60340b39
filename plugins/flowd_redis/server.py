"""A Redis server: where it is, how it is dialled over coredis, and what its errors mean to who runs
flowd.
"""

import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import trio
from attrs import field, frozen

from flowd.plugin import Secret, UpstreamError, UserError, unwrap

if TYPE_CHECKING:
    from coredis import Redis

T = TypeVar("T")

HOW = "redis://HOST:6379/0, rediss://HOST:6379/0 with TLS, or unix:///run/redis/redis.sock"
CONNECTIONS_MAX = 4
"""Connections of one sink or source; requests share them."""


@frozen
class Address:
    """Where a server is, without what is secret."""

    host: str = ""
    port: int = 6379
    db: int = 0
    tls: bool = False
    path: str | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address that a URL writes; ValueError, which shows nothing of it, for none."""
        wrong = ValueError(f"url: expected an address such as {HOW}")
        try:
            parts = urlsplit(url)
            unix, path = parts.scheme == "unix", unquote(parts.path)
            db = parse_qs(parts.query).get("db", ["0" if unix else path.strip("/")])[0]
            at = parts.hostname or "", parts.port or 6379, int(db or 0)
        except ValueError:
            raise wrong from None
        user, secret = parts.username, parts.password
        named = unquote(user) if user else None, unquote(secret) if secret else None
        if unix and path.strip("/"):
            return cls("", 6379, at[2], False, path, *named)
        if parts.scheme not in ("redis", "rediss") or not at[0] or not 0 <= at[2] < 2**16:
            raise wrong
        return cls(*at, parts.scheme == "rediss", None, *named)


@frozen
class Login:
    """What a configuration says of a server: the settings that sink and source share."""

    url: str | Secret
    username: str | None = None
    password: Secret | None = None
    ca: str | None = None
    timeout_s: float = 5.0

    def address(self) -> Address:
        """Where it is; UserError for an address or a secret that is none."""
        try:
            text = self.url if isinstance(self.url, str) else self.url.reveal()
            found = Address.parse(text)
        except ValueError as error:
            raise UserError(f"redis: {error}") from None
        return found


def check(url: str | Secret) -> None:
    """ValueError for settings that cannot work; loads coredis, and says what to install where it is
    not. For the settings of who uses this: it costs only those who configure it.
    """
    try:
        import_module("coredis")
    except ImportError:
        raise ValueError(
            "redis needs coredis, which is not installed: pip install 'flowd-daemon[redis]'"
        ) from None
    if isinstance(url, str) and Address.parse(url).password is not None:
        raise ValueError('url: a password does not belong there; say password = { env = "NAME" }')


class Refused(UpstreamError):
    """It answered, and does not do it: `code` is Redis' word for why, if it is a known one."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Server:
    """A server that is dialled when something is asked of it, and again when it was lost. Nothing
    is tried twice here: who asks must find out what came of it.
    """

    def __init__(self, client: "Redis[bytes]", where: str, timeout_s: float) -> None:
        self.client = client
        self.where = where
        self._timeout_s = timeout_s

    async def ask(self, request: Awaitable[T], more_s: float = 0.0) -> T:
        """What it answers within the timeout, and `more_s` where it was told to wait;
        UpstreamError, in a sentence, when it refuses or cannot be reached.
        """
        from coredis.exceptions import RedisError

        try:
            with trio.fail_after(self._timeout_s + more_s):
                return await request
        except* trio.TooSlowError:
            # What is under way on its connections is given up: nothing may pile up there.
            self.client.connection_pool.disconnect()
            why = f"{self.where} does not answer within {self._timeout_s:g}s; trying again"
            failed = UpstreamError(why)
        except* (RedisError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as errors:
            failed = told(unwrap(errors), self.where)
        raise failed


@asynccontextmanager
async def dialled(login: Login) -> AsyncIterator[Server]:
    """A server to ask, within this block; UserError when its settings cannot work. Whoever asks in
    further tasks starts them within.
    """
    from coredis import Redis
    from coredis.retry import NoRetryPolicy

    # It logs each failure with a traceback; all of them are raised too, and told by us.
    logging.getLogger("coredis").setLevel(logging.CRITICAL + 1)
    at = login.address()
    options: dict[str, Any] = {"host": at.host, "port": at.port}
    if at.path is not None:
        options = {"unix_socket_path": at.path}
    if at.tls:
        try:
            options |= {"ssl": True, "ssl_context": ssl.create_default_context(cafile=login.ca)}
        except OSError as error:
            raise UserError(f'redis: ca = "{login.ca}": {error}') from None
    secret = at.password if login.password is None else login.password.reveal()
    client: Redis[bytes] = Redis(
        **options,
        db=at.db,
        # An ACL user has a name, else the password is that of the user `default`.
        username=login.username or at.username or ("default" if secret else None),
        password=secret,
        connect_timeout=login.timeout_s,
        max_connections=CONNECTIONS_MAX,
        client_name="flowd",
        verify_version=False,
        retry_policy=NoRetryPolicy(),
    )
    async with client:
        yield Server(client, str(at), login.timeout_s)


REFUSALS = {
    "OOM": "its memory is full: raise its maxmemory, or retain less",
    "WRONGTYPE": "a key that is not flowd's is in the way: delete it, or choose another prefix",
    "NOAUTH": "it wants a password: set password, and username for an ACL user",
    "WRONGPASS": "it knows no such user and password: check username and password",
    "NOPERM": "its user may not do that; docs/reference/redis.md says which rights it needs",
    "READONLY": "it is a replica, which takes nothing: name the master",
    "LOADING": "it is loading its data; trying again",
    "MISCONF": "it takes nothing, since it cannot save its data to disk: see its log",
    "MASTERDOWN": "it is a replica that has lost its master",
}


def told(error: BaseException, where: str) -> UpstreamError:
    """What an error of coredis means, in a sentence."""
    from coredis.exceptions import (
        AuthenticationError,
        AuthenticationRequiredError,
        AuthorizationError,
        BusyLoadingError,
        ConnectionError,
        ReadOnlyError,
        ResponseError,
        WrongTypeError,
    )

    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(unwrap(causes[-1].__cause__))
    text = next((str(one) for one in reversed(causes) if str(one)), type(error).__name__)
    for one in causes:
        # An error of TLS has a number of its own, which is no errno.
        if isinstance(one, OSError) and one.errno and not isinstance(one, ssl.SSLError):
            text = os.strerror(one.errno).lower()
    for one in causes:
        word = str(one).lstrip("-").partition(" ")[0]
        for kind, code in (
            (AuthenticationRequiredError, "NOAUTH"),
            (AuthenticationError, "WRONGPASS"),
            (AuthorizationError, "NOPERM"),
            (BusyLoadingError, "LOADING"),
            (ReadOnlyError, "READONLY"),
            (WrongTypeError, "WRONGTYPE"),
        ):
            if isinstance(one, kind) and word not in REFUSALS:
                word = code
        if word in REFUSALS:
            return Refused(f"{where}: {REFUSALS[word]}", word)
    if isinstance(error, ConnectionError | OSError) and not isinstance(error, ResponseError):
        why = f"{where} cannot be reached: {text.rstrip('.')}; trying again"
        return UpstreamError(why)
    return Refused(f"{where} refuses: {text}", "")
