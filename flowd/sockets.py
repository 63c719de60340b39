"""The sockets that a daemon listens on: its own, those of systemd, and those that several processes
share.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import trio

from flowd.door.clients import TCP_USER_TIMEOUT
from flowd.operate import notify
from flowd.setup.config import Config, parse_address
from flowd.setup.machine import Machine
from flowd.setup.shares import Share
from flowd.values.errors import UserError

BACKLOG = 4096
STALLED_PEER_MS = 15_000
UNATTENDED_S = 10.0
"""Who connects while a daemon starts over waits for so long, or for one more attempt, at most."""


class Sockets:
    """The sockets that all daemons of this process listen on, one daemon after the other. Where one
    starts over, who connects meanwhile waits until the next one serves, instead of being refused.
    """

    def __init__(self, config: Config, share: Share | None = None) -> None:
        self._config = config
        self._share = share
        self._own: list[trio.SocketListener] = []
        self._since = 0.0

    @property
    def addresses(self) -> list[str]:
        """Where it is found, once it listens."""
        return where_to_look([one.socket for one in self._own], Machine().host)

    async def listeners(self) -> list[trio.SocketListener]:
        """For one daemon, which closes them: others of the same sockets, which stay open."""
        if not self._own:
            self._own = await listen(self._config, self._share)
        copies = [socket.socket(fileno=os.dup(one.socket.fileno())) for one in self._own]
        return [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in copies]

    def unattended(self) -> None:
        """From now on nobody takes connections, until the next daemon does."""
        self._since = trio.current_time()

    def review(self) -> None:
        """There is no daemon yet. Who has waited for long is better off where he is refused, since
        he may ask another one; how many wait is bounded by the backlog.
        """
        if trio.current_time() - self._since > UNATTENDED_S:
            self.close()

    def close(self) -> None:
        """Refuse who connects, once the daemon that there is has closed its own."""
        for one in self._own:
            one.socket.close()
        self._own.clear()


async def listen(config: Config, share: Share | None = None) -> list[trio.SocketListener]:
    """The sockets that the configuration names, or those that systemd passed. UserError when one
    cannot be had. One of several processes shares ports, and edges have the sockets that their
    parent has. The ingest has not: it believes whoever comes what only an edge may say.
    """
    passed, listen = notify.passed_sockets(), _listen
    if share is not None:
        passed, listen = share.inherit if share.is_edge else [], _listen_together
    listeners: list[trio.SocketListener] = []
    if share is not None or not passed:
        listeners += await _listen_at(config.settings.addresses, listen)
    # Copies: they can be closed and had again.
    copies = [socket.socket(fileno=os.dup(fd)) for fd in passed]
    listeners += [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in copies]
    for listener in listeners:
        _prepare(listener, config.settings.send_buffer)
    return listeners


async def _listen_at(
    addresses: list[str], listen: Callable[[str], Awaitable[list[trio.SocketListener]]]
) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    for address in addresses:
        try:
            listeners += await listen(address)
        except OSError as error:
            for listener in listeners:
                await listener.aclose()
            raise _taken(address, error) from None
    return listeners


def _taken(address: str, error: OSError) -> UserError:
    return UserError(
        f'flowd.listen = "{address}": {error.strerror or error}; is another flowd '
        "running there? Choose another address, or stop that one"
    )


async def _listen(address: str) -> list[trio.SocketListener]:
    host, port = parse_address(address)
    if not host.startswith("unix:"):
        return list(await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG))
    path = trio.Path(host.removeprefix("unix:"))
    if await path.is_socket():
        await path.unlink()
    unix = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await unix.bind(str(path))
    unix.listen(BACKLOG)
    return [trio.SocketListener(unix)]


async def _listen_together(address: str) -> list[trio.SocketListener]:
    """Listen at a numeric address, as other processes do at the same time: the kernel gives each
    its part of the connections.
    """
    host, port = parse_address(address)
    if host.startswith("unix:"):
        return await _listen(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
    found.setblocking(False)
    return [trio.SocketListener(trio.socket.from_stdlib_socket(found))]


def _prepare(listener: trio.SocketListener, send_buffer: int) -> None:
    """What accepted sockets inherit: a bounded send buffer, and an end to peers that acknowledge
    nothing.
    """
    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if TCP_USER_TIMEOUT is not None and listener.socket.family in (socket.AF_INET, socket.AF_INET6):
        listener.socket.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, STALLED_PEER_MS)


class Bound(Protocol):
    """A socket that has an address."""

    def getsockname(self) -> Any:
        """It."""
        ...


def hosts(sockets: Iterable[Bound]) -> list[tuple[str, int]]:
    """Hosts and ports that are listened on; of Unix sockets there are none."""
    names: list[Any] = [one.getsockname() for one in sockets]
    return [name[:2] for name in names if isinstance(name, tuple)]


def where_to_look(sockets: Iterable[Bound], any_host: str | None = None) -> list[str]:
    """The addresses of the pages, for a person to open: at `any_host`, or on this machine, where
    all of its addresses are listened on. Those of this machine alone are last.
    """
    found: list[str] = []
    for one in sockets:
        name: Any = one.getsockname()
        if isinstance(name, tuple):
            host = str(name[0])
            if host in ("0.0.0.0", "::"):
                host = any_host or ("127.0.0.1" if host == "0.0.0.0" else "[::1]")
            found.append(
                f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{name[1]}/"
            )
        else:
            found.append(f"unix:{name}")
    return sorted(found, key=lambda one: one.startswith("unix:"))


def reserve(addresses: Iterable[str]) -> tuple[list[socket.socket], list[socket.socket]]:
    """For processes that will listen together: the ports, bound, so that nobody else has them
    meanwhile; and the sockets that all of them get, since each can be opened once. UserError when
    one cannot be had.
    """
    if passed := notify.passed_sockets():
        return [], [socket.socket(fileno=fd) for fd in passed]
    ports: list[socket.socket] = []
    inherited: list[socket.socket] = []
    for address in addresses:
        host, port = parse_address(address)
        try:
            if host.startswith("unix:"):
                inherited.append(_unix(Path(host.removeprefix("unix:"))))
                continue
            for family, *_, at in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                # First it is seen that nobody listens there: who shares a port would not notice.
                with _bound(family, at, shared=False) as alone:
                    at = alone.getsockname()
                ports.append(_bound(family, at, shared=True))
        except OSError as error:
            raise _taken(address, error) from None
    return ports, inherited


def _bound(family: int, at: Any, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(at)
    except BaseException:
        made.close()
        raise
    return made


def _unix(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen(BACKLOG)
    return made
