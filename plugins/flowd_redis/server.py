"""A Redis server: where it is, and how it is dialled over coredis."""

import inspect
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import trio
from attrs import define, field, frozen

from flowd.plugin import Secret, UpstreamError, UserError, how_to_install, unwrap
from flowd_redis.refusals import ELSEWHERE, Refused, told

if TYPE_CHECKING:
    from coredis import Redis
    from coredis.pool import ConnectionPool

T = TypeVar("T")

HOW = "redis://HOST:6379/0, rediss://HOST:6379/0 with TLS, or unix:///run/redis/redis.sock"
AT_ONCE = 64
"""Requests that are under way together; others wait for their turn."""
CONNECTIONS_MAX = 4
"""Connections of one sink or source; requests share them."""
HOSTS_MAX = 8
"""Servers that an address may name."""
PRIMARY = "master"
"""What `ROLE` calls it."""
ROLE_S = 1.0
"""Each of several servers says within this what it is, or is taken for dead."""


@frozen
class Address:
    """Where a server is, without what is secret; or several, of which the primary is meant."""

    hosts: tuple[tuple[str, int], ...] = ()
    db: int = 0
    tls: bool = False
    path: str | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.path or ", ".join(shown(*one) for one in self.hosts)

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address that a URL writes; ValueError, which shows nothing of it, for none."""
        wrong = ValueError(f"url: expected an address such as {HOW}")
        try:
            parts = urlsplit(url)
            unix, path = parts.scheme == "unix", unquote(parts.path)
            db = int(parse_qs(parts.query).get("db", ["0" if unix else path.strip("/")])[0] or 0)
            user, secret = parts.username, parts.password
            named = unquote(user) if user else None, unquote(secret) if secret else None
            if unix and path.strip("/"):
                return cls((), db, False, path, *named)
            each = [urlsplit(f"//{one}") for one in parts.netloc.rpartition("@")[2].split(",")]
            hosts = tuple((one.hostname or "", one.port or 6379) for one in each)
        except ValueError:
            raise wrong from None
        named_all = all(host for host, _ in hosts) and len(hosts) <= HOSTS_MAX
        if parts.scheme not in ("redis", "rediss") or not named_all or not 0 <= db < 2**16:
            raise wrong
        return cls(hosts, db, parts.scheme == "rediss", None, *named)


def shown(host: str, port: int) -> str:
    """One server, as people are told of it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
            "redis needs coredis, which is not installed: " + how_to_install("flowd-daemon[redis]")
        ) from None
    if isinstance(url, str) and Address.parse(url).password is not None:
        raise ValueError('url: a password does not belong there; say password = { env = "NAME" }')


def check_prefix(prefix: str) -> None:
    """ValueError for what no key of flowd's can begin with."""
    if not prefix or set(prefix) & set("{} \t\r\n"):
        raise ValueError(f'prefix = "{prefix}": expected a word, such as "flowd"')


@define(eq=False)
class Pool:
    """Connections of a client, of which none was lost so far. coredis says how many there may be,
    and forgets to take those back that end while somebody waits for an answer, or for them: after
    some there would be none for anybody. So who loses one goes on with another pool, and what is
    under way in this one comes to its end.
    """

    pool: "ConnectionPool[Any]"
    lost: bool = False
    _requests: int = 0
    _over: trio.Event = field(factory=trio.Event)

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have it open until it is over."""
        async with self.pool:
            task_status.started()
            await self._over.wait()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Something is asked within this block."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._see()

    def lose(self, *, give_up: bool) -> None:
        """Nothing more is asked here; what is under way is given up, if wanted."""
        if give_up:
            self.pool.disconnect()
        self.lost = True
        self._see()

    def _see(self) -> None:
        if self.lost and not self._requests:
            self._over.set()


Dial = Callable[["Redis[bytes]"], Awaitable[tuple[Pool, str]]]
"""Gives a client new connections; these, and where they lead."""


class Server:
    """A server that is dialled when something is asked of it, and again when it was lost. Nothing
    is tried twice here: who asks must find out what came of it.
    """

    def __init__(
        self,
        client: "Redis[bytes]",
        where: str,
        timeout_s: float,
        dial: Dial | None = None,
        *,
        several: bool = False,
    ) -> None:
        self.client = client
        self.where = where
        self.several = several
        """Whether it is the primary of several: then another one may become that."""
        self._timeout_s = timeout_s
        self._dial = dial
        self._pool: Pool | None = None
        self._dialling = trio.Lock()
        self._failed: str | None = None
        """Why it could not be dialled, at …"""
        self._failed_at = 0.0
        # Its time runs from when it is asked: thousands of streams begin at once.
        self._turns = trio.Semaphore(AT_ONCE)

    async def ask(self, request: Awaitable[T], more_s: float = 0.0) -> T:
        """What it answers within the timeout, and `more_s` where it was told to wait;
        UpstreamError, in a sentence, when it refuses or cannot be reached.
        """
        try:
            await self._turns.acquire()
        except trio.Cancelled:
            _let_go(request)
            raise
        try:
            return await self._ask(request, more_s)
        finally:
            self._turns.release()

    async def _ask(self, request: Awaitable[T], more_s: float) -> T:
        from coredis.exceptions import RedisError

        try:
            pool = await self._connections()
        except BaseException:
            _let_go(request)
            raise
        answered = late = False
        try:
            with (
                pool.request() if pool else nullcontext(),
                trio.fail_after(self._timeout_s + more_s),
            ):
                answer = await request
                answered = True
                return answer
        except* trio.TooSlowError:
            why = f"{self.where} does not answer within {self._timeout_s:g}s; trying again"
            failed, late = UpstreamError(why), True
        except* (RedisError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as errors:
            failed = told(unwrap(errors), self.where)
            answered = isinstance(failed, Refused) and failed.code not in ELSEWHERE
        finally:
            if pool is not None and not answered:
                # Of one that is late, what is under way is given up: nothing may pile up there.
                pool.lose(give_up=late)
        raise failed

    async def _connections(self) -> Pool | None:
        """Those that are used at the moment, new ones where some were lost."""
        if self._dial is None or self._usable:
            return self._pool
        asked_at = trio.current_time()
        async with self._dialling:
            if not self._usable:
                if self._failed is not None and self._failed_at > asked_at:
                    # Who waited meanwhile is told the same, and does not look once more.
                    raise UpstreamError(self._failed)
                try:
                    self._pool, self.where = await self._dial(self.client)
                except UpstreamError as error:
                    self._failed, self._failed_at = str(error), trio.current_time()
                    raise
            return self._pool

    @property
    def _usable(self) -> bool:
        return self._pool is not None and not self._pool.lost


def _let_go(request: Awaitable[Any]) -> None:
    """It is not awaited any more."""
    if inspect.iscoroutine(request):
        request.close()


@asynccontextmanager
async def dialled(login: Login) -> AsyncIterator[Server]:
    """A server to ask, within this block; UserError when its settings cannot work. Whoever asks in
    further tasks starts them within.
    """
    # It logs each failure with a traceback; all of them are raised too, and told by us.
    logging.getLogger("coredis").setLevel(logging.CRITICAL + 1)
    at = login.address()
    options = _options(login, at)
    several = len(at.hosts) > 1
    async with trio.open_nursery() as nursery:

        async def dial(client: "Redis[bytes]") -> tuple[Pool, str]:
            place = await _primary(options, at) if several else at.path or at.hosts[0]
            pool = Pool(_client(options, place).connection_pool)
            await nursery.start(pool.keep)
            client.connection_pool = pool.pool
            return pool, place if isinstance(place, str) else shown(*place)

        client = _client(options, at.path or at.hosts[0])
        yield Server(client, str(at), login.timeout_s, dial, several=several)
        nursery.cancel_scope.cancel()


async def _primary(options: Mapping[str, Any], at: Address) -> tuple[str, int]:
    """Which of the servers is the primary: the first, where several take themselves for it.
    UpstreamError where none does.
    """
    found: dict[tuple[str, int], str] = {}

    async def ask(host: tuple[str, int]) -> None:
        try:
            async with _client(options, host) as client:
                role = await Server(client, shown(*host), ROLE_S).ask(client.role())
            found[host] = role.role
        except* UpstreamError as errors:
            found[host] = str(unwrap(errors))

    async with trio.open_nursery() as nursery:
        for host in at.hosts:
            nursery.start_soon(ask, host)
    for host in at.hosts:
        if found[host] == PRIMARY:
            return host
    roles = ("slave", "sentinel")
    each = [f"{shown(*h)} is a {found[h]}" if found[h] in roles else found[h] for h in at.hosts]
    raise UpstreamError(f"none of {at} is a primary that answers ({'; '.join(each)[:500]})")


def _options(login: Login, at: Address) -> dict[str, Any]:
    """How a client logs in; UserError when that cannot work."""
    options: dict[str, Any] = {}
    if at.tls:
        try:
            options |= {"ssl": True, "ssl_context": ssl.create_default_context(cafile=login.ca)}
        except OSError as error:
            raise UserError(f'redis: ca = "{login.ca}": {error}') from None
    secret = at.password if login.password is None else login.password.reveal()
    return {
        **options,
        "db": at.db,
        # An ACL user has a name, else the password is that of the user `default`.
        "username": login.username or at.username or ("default" if secret else None),
        "password": secret,
        "connect_timeout": login.timeout_s,
    }


def _client(options: Mapping[str, Any], at: str | tuple[str, int]) -> "Redis[bytes]":
    """A client of the server at this path, or host and port."""
    from coredis import Redis
    from coredis.retry import NoRetryPolicy

    where: dict[str, Any] = (
        {"unix_socket_path": at} if isinstance(at, str) else {"host": at[0], "port": at[1]}
    )
    return Redis(
        **where,
        **options,
        max_connections=CONNECTIONS_MAX,
        client_name="flowd",
        verify_version=False,
        retry_policy=NoRetryPolicy(),
    )
