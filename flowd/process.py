"""The daemon as a process: real sockets, real state, and an end by signal."""

import gc
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from flowd import __version__
from flowd.daemon import Daemon
from flowd.door.clients import TCP_USER_TIMEOUT
from flowd.operate import notify
from flowd.operate.status import LoopMeter
from flowd.operate.watchdog import Watchdog
from flowd.setup.carried import ASK_S, AllCarried, carriers
from flowd.setup.checks import ready as asked
from flowd.setup.config import Config, parse_address
from flowd.setup.registry import Registry
from flowd.setup.remarks import remarks
from flowd.stream.stores import SqliteStore
from flowd.values.errors import UpstreamError, UserError

logger = logging.getLogger("flowd")

FILES_SPARE = 600
"""Open files beside the clients': polls, upstreams, the state, the log."""
BACKLOG = 4096
GC_THRESHOLDS = (1000, 2, 25_000)
"""A garbage collection holds the loop for as long as it takes, about a microsecond for each object
that it looks at. So the frequent ones look at few, and the one that looks at all is rare.
"""
SWITCH_S = 0.0005
"""Where a thread computes, the loop waits for so long each time that it has let go of the
interpreter, which each `write` of it does: by default, ten times as long.
"""
STALLED_PEER_MS = 15_000
WAIT_S = 2.0
"""Between two attempts to learn which streams another daemon has."""
UNATTENDED_S = 10.0
"""Who connects while a daemon starts over waits for so long, or for one more attempt, at most."""


async def serve(
    config: Config,
    registry: Registry,
    state: Path,
    watchdog: Watchdog,
    ready: Callable[[list[str]], None] = lambda addresses: None,
) -> bool:
    """The daemon as a process: real sockets, real state, until the watchdog is told to end it.
    Whether its state was saved then. A daemon that starts over has a successor here.
    """
    raise_file_limit(config.settings.max_clients + FILES_SPARE)
    sockets = Sockets(config)
    stop = Stop(watchdog, sockets.close)
    try:
        while True:
            store = SqliteStore(state, durability=config.settings.durability)
            if await trio.Path(state).exists():
                # Before any socket: one who is refused must not have taken another's away.
                store.claim()
            carried = await discover(config, registry, stop, sockets)
            if carried is None:
                await store.close()
                return True  # There was nothing to save since.
            listeners = await sockets.listeners()
            for remark in remarks(config, hosts(listeners)):
                logger.warning(remark)
            settle()
            daemon = Daemon(config, registry, store=store, carried=carried)
            daemon.addresses += where_to_look(listeners, daemon.machine.host)
            stop.leads_to(daemon.stop, daemon.loop)
            await _live(daemon, listeners, ready)
            if daemon.again is None or stop.asked:
                return daemon.saved
            sockets.unattended()
    finally:
        sockets.close()


async def _live(
    daemon: Daemon,
    listeners: list[trio.SocketListener],
    ready: Callable[[list[str]], None],
) -> None:
    """One daemon's life, from its start until it has ended."""
    async with trio.open_nursery() as nursery:
        # What is restored stays as well: looking for garbage in it would be a third of the work,
        # and would hold the loop later.
        gc.disable()
        try:
            await nursery.start(partial(daemon.run, listeners))
        finally:
            gc.freeze()
            gc.enable()
        ready(where_to_look(listeners))
        logger.info("flowd %s serves on %s", __version__, ", ".join(where_to_look(listeners)))
        await daemon.ended.wait()
        if daemon.supervisor.stuck:
            # All is saved, and what is left would never end. Who was to start over is started
            # again by who started it.
            os._exit(0 if daemon.saved and daemon.again is None else 1)
        nursery.cancel_scope.cancel()


class Stop:
    """What the watchdog calls when the process is to end: whatever runs at the moment ends then,
    and nothing is begun any more. Before that, `first` is called.
    """

    def __init__(self, watchdog: Watchdog, first: Callable[[], None]) -> None:
        self.asked = False
        self._watchdog = watchdog
        self._first = first
        self._stop: Callable[[], None] = lambda: None

    def leads_to(self, stop: Callable[[], None], meter: LoopMeter) -> None:
        """From now on it ends this; at once, if it was asked for before."""
        self._stop = stop
        self._watchdog.watch(self._ask, meter)
        if self.asked:
            stop()

    def _ask(self) -> None:
        self.asked = True
        self._first()
        self._stop()


async def discover(
    config: Config, registry: Registry, stop: Stop, sockets: "Sockets"
) -> AllCarried | None:
    """Which streams of other daemons there are, asked until there is an answer; None when the
    process is to end before. UserError when they cannot be asked for.
    """
    if not carriers(config):
        return {}
    told = ""
    with trio.CancelScope() as scope:
        stop.leads_to(scope.cancel, LoopMeter())
        while True:
            try:
                return await asked(config, registry)
            except UpstreamError as error:
                sockets.review()
                if str(error) != told:
                    logger.warning("waiting for the streams of another daemon: %s", error)
                told = str(error)
                # It may take longer than systemd waits for a start, and than its watchdog does.
                extend = f"EXTEND_TIMEOUT_USEC={round(4e6 * (ASK_S + WAIT_S))}\nWATCHDOG=1"
                notify.notify(f"STATUS=waiting: {told.splitlines()[0]:.200}\n{extend}")
            await trio.sleep(WAIT_S)
    return None


# -----------------------------------------------------------------------------


def settle() -> None:
    """Have the interpreter do in small pieces what it does beside the loop, from here on."""
    # What was imported so far stays for ever: a garbage collection that walks over all of it would
    # hold the loop for a tenth of a second. Not so the daemon before this one, if there was one.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)


class Sockets:
    """The sockets that all daemons of this process listen on, one daemon after the other. Where one
    starts over, who connects meanwhile waits until the next one serves, instead of being refused.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._own: list[trio.SocketListener] = []
        self._since = 0.0

    async def listeners(self) -> list[trio.SocketListener]:
        """For one daemon, which closes them: others of the same sockets, which stay open."""
        if not self._own:
            self._own = await listen(self._config)
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


async def listen(config: Config) -> list[trio.SocketListener]:
    """The sockets that the configuration names, or those that systemd passed. UserError when one
    cannot be had.
    """
    settings = config.settings
    passed = notify.passed_sockets()
    if passed:
        # Copies: they can be closed and had again.
        sockets = [
            trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(fd))) for fd in passed
        ]
        listeners = [trio.SocketListener(one) for one in sockets]
    else:
        listeners = []
        for address in settings.addresses:
            try:
                listeners += await _listen(address)
            except OSError as error:
                for listener in listeners:
                    await listener.aclose()
                raise UserError(
                    f'flowd.listen = "{address}": {error.strerror or error}; is another flowd '
                    "running there? Choose another address, or stop that one"
                ) from None
    for listener in listeners:
        _prepare(listener, settings.send_buffer)
    return listeners


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


def _prepare(listener: trio.SocketListener, send_buffer: int) -> None:
    """What accepted sockets inherit: a bounded send buffer, and an end to peers that acknowledge
    nothing.
    """
    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if TCP_USER_TIMEOUT is not None and listener.socket.family in (socket.AF_INET, socket.AF_INET6):
        listener.socket.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, STALLED_PEER_MS)


def hosts(listeners: list[trio.SocketListener]) -> list[tuple[str, int]]:
    """Hosts and ports that are listened on; of Unix sockets there are none."""
    names: list[Any] = [listener.socket.getsockname() for listener in listeners]
    return [name[:2] for name in names if isinstance(name, tuple)]


def where_to_look(listeners: list[trio.SocketListener], any_host: str | None = None) -> list[str]:
    """The addresses of the pages, for a person to open: at `any_host`, or on this machine, where
    all of its addresses are listened on.
    """
    found: list[str] = []
    for listener in listeners:
        name: Any = listener.socket.getsockname()
        if isinstance(name, tuple):
            host = str(name[0])
            if host in ("0.0.0.0", "::"):
                host = any_host or ("127.0.0.1" if host == "0.0.0.0" else "[::1]")
            found.append(
                f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{name[1]}/"
            )
        else:
            found.append(f"unix:{name}")
    return found


def raise_file_limit(needed: int) -> None:
    """Each client is a file: ask for as many as the system gives; say so when they will not do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        logger.warning(
            "flowd.max_clients wants %d open files, the system allows %d; raise LimitNOFILE",
            needed,
            soft,
        )
