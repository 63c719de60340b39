"""The daemon as a process: real sockets, real state, and an end by signal."""

import gc
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio
from attrs import define

from flowd import __version__, roles
from flowd.daemon import Daemon
from flowd.operate import notify
from flowd.operate.siblings import Siblings
from flowd.operate.status import LoopMeter
from flowd.operate.watchdog import Watchdog
from flowd.pair.ledger import Ledger
from flowd.roles import Turn
from flowd.setup.carried import ASK_S, AllCarried, carriers
from flowd.setup.checks import ready as asked
from flowd.setup.config import Config
from flowd.setup.registry import Registry
from flowd.setup.remarks import remarks
from flowd.setup.shares import INGEST, Share
from flowd.setup.shares import names as edge_names
from flowd.sockets import Bound, Sockets, hosts, where_to_look
from flowd.stream.snapshot import Store
from flowd.stream.stores import SqliteStore
from flowd.stream.unkept import NoStore
from flowd.values.errors import UpstreamError

logger = logging.getLogger("flowd")

FILES_SPARE = 600
"""Open files beside the clients': polls, upstreams, the state, the log."""
GC_THRESHOLDS = (1000, 2, 25_000)
"""A garbage collection holds the loop for as long as it takes, about a microsecond for each object
that it looks at. So the frequent ones look at few, and the one that looks at all is rare.
"""
SWITCH_S = 0.0005
"""Where a thread computes, the loop waits for so long each time that it has let go of the
interpreter, which each `write` of it does: by default, ten times as long.
"""
FIRST_WAIT_S, WAIT_S = 0.25, 2.0
"""Between two attempts to learn which streams another daemon has: at first, and at most."""


async def serve(
    config: Config,
    registry: Registry,
    state: Path,
    watchdog: Watchdog,
    ready: Callable[[list[str]], None] = lambda addresses: None,
    share: Share | None = None,
) -> bool:
    """The daemon as a process: real sockets, real state, until the watchdog is told to end it.
    Whether its state was saved then. A daemon that starts over has a successor here.

    With a `share` it is one of several that are a daemon together: the `config` is its part.
    """
    raise_file_limit(config.settings.max_clients + FILES_SPARE)
    sockets = Sockets(config, share)
    turns = _Turns(config, registry, state, share, ready, sockets, Stop(watchdog, sockets.close))
    try:
        async with roles.ledger_of(config) as ledger:
            while (saved := await turns.take(ledger)) is None:
                sockets.unattended()
            return saved
    finally:
        sockets.close()


@define
class _Turns:
    """What this process runs, one after the other: a daemon in each of its turns."""

    config: Config
    registry: Registry
    state: Path
    share: Share | None
    ready: Callable[[list[str]], None]
    sockets: Sockets
    stop: "Stop"
    takeovers: int = 0
    """How often it took the lease of a pair."""

    async def take(self, ledger: Ledger | None) -> bool | None:
        """Wait for a turn, and run a daemon until it has ended: whether its state was saved; None
        when another turn is to follow.
        """
        config, registry, stop = self.config, self.registry, self.stop
        async with roles.turn(
            config, registry, ledger, self.state, self.sockets, stop.leads_to, self.takeovers
        ) as turn:
            if turn is None:
                return True  # What it has is another one's.
            if turn.lead is not None:
                self.takeovers = turn.lead.takeovers
            store = await _store(config, self.state, self.share, turn.anew)
            carried = await discover(config, registry, stop, self.sockets)
            if carried is None:
                await store.close()
                return True  # There was nothing to save since.
            listeners = await self.sockets.listeners()
            daemon = self._daemon(turn, store, carried, [one.socket for one in listeners])
            stop.leads_to(daemon.stop, daemon.loop)
            await _live(daemon, listeners, self.ready)
        return daemon.saved if daemon.again is None or stop.asked else None

    def _daemon(
        self, turn: Turn, store: Store, carried: AllCarried, listening: Sequence[Bound]
    ) -> Daemon:
        """The daemon of one turn, which knows where it serves."""
        config, share = self.config, self.share
        if share is None:
            for remark in remarks(config, hosts(listening)):
                logger.warning(remark)
        settle()
        daemon = Daemon(
            config,
            self.registry,
            store=store,
            carried=carried,
            spares=turn.spares,
            lead=turn.lead,
        )
        if share is not None:
            names = [INGEST, *edge_names(share.edges)]
            daemon.siblings = Siblings(share.name, share.folder, names)
            daemon.peers.ours = daemon.siblings.have
        daemon.addresses += where_to_look(listening, daemon.machine.host)
        return daemon


async def _store(config: Config, state: Path, share: Share | None, anew: str | None) -> Store:
    """Where state is kept. An edge keeps none: what it has is in its server and at the ingest."""
    if share is not None and share.is_edge:
        return NoStore()
    store = SqliteStore(state, durability=config.settings.durability, anew=anew)
    if await trio.Path(state).exists():
        # Before any socket: one who is refused must not have taken another's away.
        store.claim()
    return store


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
        if daemon.lead is not None:
            daemon.lead.serve()
        where = where_to_look(one.socket for one in listeners)
        ready(where)
        logger.info("flowd %s serves on %s", __version__, ", ".join(where))
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
    config: Config, registry: Registry, stop: Stop, sockets: Sockets
) -> AllCarried | None:
    """Which streams of other daemons there are, asked until there is an answer; None when the
    process is to end before. UserError when they cannot be asked for.
    """
    if not carriers(config):
        return {}
    told, wait_s = "", FIRST_WAIT_S
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
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, WAIT_S)
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
