"""What `flowd run` does: one process that is the daemon, or several that are one together."""

import fcntl
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import trio
from attrs import evolve

from flowd import __version__, process, sockets
from flowd.operate import log
from flowd.operate.others import of_others
from flowd.operate.status import LoopMeter
from flowd.operate.watchdog import Watchdog
from flowd.parent import Family, Parent
from flowd.setup import checks, config, shares
from flowd.setup.config import Config
from flowd.setup.machine import Machine
from flowd.setup.registry import Registry
from flowd.setup.remarks import remarks
from flowd.setup.shares import SERVER, Share

logger = logging.getLogger("flowd")

PARENT = "parent"
KEY_BYTES = 32
SOCKET_MAX = 100
"""Bytes of a Unix socket's path, at most: of some systems 103."""


def run(
    file: Path,
    registry: Registry,
    watchdog: Watchdog,
    command: Sequence[str],
    edges: int | None,
) -> bool:
    """Run the daemon until the watchdog is told to end it; whether what is to survive was saved.
    UserError when it cannot start, CannotStart when one of its processes said why.

    `command` begins the command line of a process of several, which goes on with its name.
    """
    text = checks.read(file)
    loaded = checks.load(file, registry)
    edges = loaded.settings.edges if edges is None else edges
    if edges is not None:
        return _several(text, loaded, registry, watchdog, command, edges)
    _log(loaded)
    state = config.state_path(loaded.settings)
    return trio.run(
        process.serve, loaded, registry, state, watchdog, _tell, strict_exception_groups=True
    )


def told() -> Share | None:
    """What the parent says next, on standard input, that this process is to be: first what it knows
    at once, then all. None where it is gone.
    """
    line = sys.stdin.buffer.readline()
    return Share.read(line) if line.endswith(b"\n") else None


def share(told: Share, registry: Registry, watchdog: Watchdog) -> bool:
    """Be one of several, until the parent says so or is gone; whether what is to survive was saved.
    UserError when it cannot start.
    """
    orphaned = _ends_with(sys.stdin.fileno())
    derived = shares.derive(config.parse(told.text, registry), told, registry)
    _log(derived, told.name)
    state = config.state_path(derived.settings)
    saved = trio.run(
        process.serve,
        derived,
        registry,
        state,
        watchdog,
        lambda addresses: None,
        told,
        strict_exception_groups=True,
    )
    if orphaned.is_set() and not told.is_edge:
        rmtree(told.folder, ignore_errors=True)  # Nobody else is left to.
    return saved


def _ends_with(pipe: int) -> threading.Event:
    """Have this process end in order when the pipe does: the parent is gone."""
    gone = threading.Event()

    def wait() -> None:
        with suppress(OSError):
            while os.read(pipe, 4096):
                pass
        gone.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="flowd parent", daemon=True).start()
    return gone


def _log(loaded: Config, name: str = "") -> None:
    settings = loaded.settings
    log.configure(settings.log_level, settings.log_format, process=name)
    if (folder := config.log_dir(settings)) is not None:
        log.keep(folder, [part.name for part in loaded.components], settings.log_dir_max)


def _tell(addresses: Sequence[str]) -> None:
    """Say to a person where to look."""
    if sys.stderr.isatty():
        from flowd.operate.terminal import err

        err.print(f"[bold]flowd[/] {__version__} is running. Look at:")
        for address in addresses:
            err.print(f"  {address}", style="bold cyan")


# -- several


def _several(
    text: str,
    loaded: Config,
    registry: Registry,
    watchdog: Watchdog,
    command: Sequence[str],
    edges: int,
) -> bool:
    """Be the parent. All that can be wrong is found before anything is started."""
    folder = _folder()
    try:
        joint = shares.joint(loaded, registry, edges, folder / f"{SERVER}.sock")
        settings = loaded.settings
        own = None if settings.log_dir is None else f"{settings.log_dir}/{PARENT}"
        _log(evolve(loaded, settings=evolve(settings, log_dir=own)), PARENT)
        process.raise_file_limit(process.FILES_SPARE)
        reserved, inherited = sockets.reserve(settings.addresses)
        listening = sockets.hosts(reserved)
        for remark in remarks(loaded, listening):
            logger.warning(remark)
        told = Share(
            name=PARENT,
            text=text,
            edges=edges,
            folder=folder,
            ticket_key=Machine().random.randbytes(KEY_BYTES).hex(),
            listen=[_numeric(host, port) for host, port in listening],
            inherit=[one.fileno() for one in inherited],
            streams=[],
        )
        server = None if joint.command is None else of_others(joint.command)
        family = Family(told, command, server, _environment())
        where = sockets.where_to_look([*reserved, *inherited])
        return trio.run(_parent, Parent(family), watchdog, where, strict_exception_groups=True)
    finally:
        rmtree(folder, ignore_errors=True)


async def _parent(parent: Parent, watchdog: Watchdog, where: list[str]) -> bool:
    process.Stop(watchdog, lambda: None).leads_to(parent.stop, LoopMeter())

    def ready() -> None:
        _tell(where)
        logger.info("flowd %s serves on %s", __version__, ", ".join(where))

    return await parent.run(ready)


def _folder() -> Path:
    """A folder for sockets, which this user alone may enter, and whose path is short enough."""
    wanted = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or None
    for place in (wanted, None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="flowd-", dir=place))
        if len(str(folder / "ingest.notify")) <= SOCKET_MAX:
            # Who clears /tmp of what is old leaves alone what is locked: for as long as we live.
            fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
            return folder
        folder.rmdir()
    raise AssertionError("/tmp is short")


def _numeric(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _environment() -> dict[str, str]:
    """Ours, without what systemd says to the parent alone."""
    alone = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in alone and not name.startswith("LISTEN_")
    }
