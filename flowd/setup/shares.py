"""One configuration as several processes of one machine have it: an ingest, which is all of it and
serves the others, and edges, which follow its streams and serve clients.

Each derives its own part from the same text. What passes between them is a source and a sink of a
kind that says how (`Beside`): the core knows no server by name.
"""

from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from flowd.plugin import Beside, Sink, Source
from flowd.setup.carried import carriers
from flowd.setup.config import MEMORY_MIN, Component, Config
from flowd.setup.registry import Registry
from flowd.setup.supervisor import Restart
from flowd.setup.wiring import plan
from flowd.stream.held import Retain
from flowd.upstream.outages import HERE
from flowd.values import codec
from flowd.values.errors import UserError
from flowd.values.settings import Secret, Size

INGEST, SERVER = "ingest", "server"
EDGES_MAX = 64
PEER = "local"
"""What the door calls whoever comes by a Unix socket."""
AGAIN = Restart(delay_s=0.25, delay_max_s=2.0)
"""How soon an edge looks for the ingest's streams again: both are of one machine."""


@frozen
class Share:
    """What the parent tells one process. `folder` holds a Unix socket of each, `NAME.sock`.

    `listen` are the addresses of clients and `inherit` the sockets for them that the parent opened,
    by their file descriptors; `streams` are those that an edge follows.
    """

    name: str
    text: str
    edges: int
    folder: Path
    ticket_key: str
    listen: list[str]
    inherit: list[int]
    streams: list[str]

    def told(self) -> bytes:
        """A line that says all of it."""
        return codec.encode({**asdict(self), "folder": str(self.folder)}) + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Share":
        """What such a line says."""
        said = codec.decode(line)
        return cls(**{**said, "folder": Path(said["folder"])})

    @property
    def is_edge(self) -> bool:
        """Whether it serves clients."""
        return self.name != INGEST

    def socket(self, name: str) -> Path:
        """Where a process is asked by the others."""
        return self.folder / f"{name}.sock"


@frozen
class Joint:
    """What joins the processes: the kind of source that edges have, and the settings of the sink
    that feeds it. It is one that is configured, or else `command` starts a server for it.
    """

    source: Source
    settings: Any
    sink: Sink
    command: list[str] | None = None

    @property
    def beside(self) -> Beside:
        """How it joins them."""
        assert self.source.beside is not None
        return self.source.beside


def names(edges: int) -> list[str]:
    """What the edges are called."""
    return [f"edge-{number}" for number in range(1, edges + 1)]


def joint(config: Config, registry: Registry, edges: int, server: Path) -> Joint:
    """How the processes of a configuration are joined; UserError when they cannot be. A server of
    our own would listen at the path `server`.
    """
    if not 1 <= edges <= EDGES_MAX:
        raise UserError(f"flowd.edges = {edges}: expected a number from 1 to {EDGES_MAX}")
    if config.pair is not None:
        raise UserError(
            f"flowd.edges = {edges}: an ingest with a [pair] serves nobody while it stands by; "
            "run edges as daemons of their own, with a source of kind redis"
        )
    taken = {part.name for part in config.components} & {INGEST, SERVER, *names(edges)}
    if taken:
        raise UserError(
            f"flowd.edges: a process is called {min(taken)}, and so is a component; rename that one"
        )
    kinds = [kind for kind in registry.sources.values() if kind.beside is not None]
    kinds = [kind for kind in kinds if kind.beside and kind.beside.sink in registry.sinks]
    if not kinds:
        raise UserError(
            "flowd.edges: no plugin brings a kind of source by which processes follow each other; "
            "flowd's own does, flowd_redis: is it disabled?"
        )
    for kind in kinds:
        assert kind.beside is not None
        for part in config.of("sinks"):
            if part.kind == kind.beside.sink:
                _check_all(part, config)
                return Joint(kind, part.settings, part.definition)
    kind = kinds[0]
    assert kind.beside is not None
    try:
        settings, command = kind.beside.own(server), list(kind.beside.server(server))
    except (UserError, ValueError) as error:
        raise UserError(f"flowd.edges: {error}") from None
    return Joint(kind, settings, registry.sinks[kind.beside.sink], command)


def _check_all(part: Component, config: Config) -> None:
    """UserError when a sink does not write all streams, which edges follow."""
    planned = plan(config)
    lacking = sorted({*planned.records} - {*planned.inputs[part.name]})
    if lacking:
        raise UserError(
            f"[{part.where}]: edges follow all streams, and it does not write "
            f'{", ".join(lacking[:5])}{" …" * (len(lacking) > 5)}: say inputs = ["*"]'
        )


def ingest(config: Config, share: Share, found: Joint) -> Config:
    """What the ingest is configured with: all that is written, and the sink that feeds the edges if
    that is not.

    It serves the edges alone. They have asked already whether a client may, and say who it is.
    """
    settings = evolve(
        config.settings,
        listen=[f"unix:{share.socket(share.name)}"],
        ticket_key=_key(config, share),
        trusted_proxies=[*config.settings.trusted_proxies, PEER],
        allow_origins=["*"],
        allow_hosts=["*"],
    )
    parts = list(config.components)
    if found.command is not None:
        name = _free("edges", config)
        kind = found.beside.sink
        sink = Component("sinks", name, kind, found.sink, found.settings, Retain(), AGAIN)
        parts.append(sink)
    return evolve(config, settings=settings, components=parts)


def edge(config: Config, share: Share, found: Joint) -> Config:
    """What an edge is configured with: the ingest's streams, and the sinks that need no more to
    serve. All others are the ingest's, which is asked for what they serve.

    All edges together take as many clients, and as much memory for them, as one daemon would.
    """
    settings = config.settings
    settings = evolve(
        settings,
        listen=[f"unix:{share.socket(share.name)}", *share.listen],
        ticket_key=_key(config, share),
        max_clients=-(-settings.max_clients // share.edges),
        memory_budget=Size(max(MEMORY_MIN, settings.memory_budget // share.edges)),
        log_dir=None if settings.log_dir is None else f"{settings.log_dir}/{share.name}",
    )
    followed = found.beside.follow(found.settings, share.streams)
    name = _free("upstream", config)
    kind, token = found.source, _carried_token(config)
    source = Component(
        "sources", name, kind.kind, kind, followed, Retain(), AGAIN, read_token=token
    )
    serving = [part for part in config.of("sinks") if _serves_alone(part.definition)]
    parts, tokens = [source, *serving], plan(config).tokens
    return evolve(config, settings=settings, components=parts, tokens=tokens)


def _serves_alone(kind: Sink) -> bool:
    """Whether streams are all that it needs: no task that must run once, and nobody who is asked
    for more than they have.
    """
    return kind.run is None and not kind.asks


def followed(streams: list[str]) -> list[str]:
    """Of the ingest's streams those that edges follow, in an order that is always the same: each
    tells of its own outages itself.
    """
    return sorted(name for name in streams if name != HERE)


def derive(config: Config, share: Share, registry: Registry) -> Config:
    """The part of one process."""
    found = joint(config, registry, share.edges, share.socket(SERVER))
    return (edge if share.is_edge else ingest)(config, share, found)


def _key(config: Config, share: Share) -> Secret:
    own = config.settings.ticket_key
    if own is not None and own.available:
        return own
    return Secret("made by the parent", share.ticket_key)


def _carried_token(config: Config) -> Secret | None:
    """What streams are read with that the ingest has from another daemon, where they need it."""
    return next((part.read_token for part in carriers(config) if part.read_token), None)


def _free(wanted: str, config: Config) -> str:
    """This name, or one like it that no component has."""
    taken = {part.name for part in config.components}
    return next(name for n in range(len(taken) + 1) if (name := wanted + "-" * n) not in taken)
