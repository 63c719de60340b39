"""The plugin API: everything that a source, transform or sink may import from flowd, besides
`flowd.market`.

A plugin is a module with hooks, found by an entry point in the group `flowd` or in the directory
given by `--plugins-dir`. Hooks are called once at start, synchronously, and only say what there
is; what runs is an async function that the definition names.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pluggy
import typer
from attrs import Factory, frozen
from quart import Blueprint

from flowd.channel.audience import Audience
from flowd.channel.channel import Encode
from flowd.door.carry import POSITION, Broker, Pace, carry, marked
from flowd.door.desk import Desk
from flowd.door.paths import Asked, Hot, Live, Session, Tail, Wish, follow_path
from flowd.pair.ledger import Claim, Deposed, Follower, Ledger, Shipped, Standing
from flowd.stream.cursor import Cursor
from flowd.stream.handover import Known
from flowd.stream.index import Index
from flowd.stream.inputs import Delivery, Input, Streams
from flowd.stream.log import Stream
from flowd.stream.mirror import Mirror, Mirrored
from flowd.stream.several import Once, news_of
from flowd.upstream.budget import Budget
from flowd.upstream.connection import Upstream
from flowd.upstream.feed import Feed
from flowd.upstream.http import Answer, BadBody, Http, NoAnswer, RateLimited
from flowd.upstream.outages import Outage
from flowd.upstream.remembered import Remembered
from flowd.values import codec, filters, validators
from flowd.values.clock import Clock
from flowd.values.environment import configured
from flowd.values.errors import (
    BadRequest,
    Unusable,
    UpstreamError,
    UpstreamSilent,
    UserError,
    suggestion,
    unwrap,
)
from flowd.values.filters import Filter
from flowd.values.installing import how_to_install
from flowd.values.peers import Peer, Peers
from flowd.values.record import Batch, Gap, Position, Record
from flowd.values.settings import Seconds, Secret, Size, StreamName, seconds, secret

__all__ = [
    "POSITION",
    "Answer",
    "Asked",
    "Audience",
    "BadBody",
    "BadRequest",
    "Batch",
    "Beside",
    "Broker",
    "Budget",
    "Claim",
    "Clock",
    "Cursor",
    "Delivery",
    "Deposed",
    "Desk",
    "Encode",
    "Feed",
    "Filter",
    "Follower",
    "Gap",
    "Hot",
    "Http",
    "Index",
    "Input",
    "Known",
    "Ledger",
    "Live",
    "Mirror",
    "Mirrored",
    "NoAnswer",
    "Once",
    "Outage",
    "Pace",
    "Pair",
    "Peer",
    "Peers",
    "Position",
    "RateLimited",
    "Record",
    "Remembered",
    "Seconds",
    "Secret",
    "Session",
    "Shipped",
    "Sink",
    "Size",
    "Source",
    "Standing",
    "Stream",
    "StreamName",
    "Streams",
    "Tail",
    "Transform",
    "Unusable",
    "Upstream",
    "UpstreamError",
    "UpstreamSilent",
    "UserError",
    "Wish",
    "carry",
    "codec",
    "configured",
    "filters",
    "follow_path",
    "hookimpl",
    "how_to_install",
    "marked",
    "news_of",
    "seconds",
    "secret",
    "suggestion",
    "unwrap",
    "validators",
]

hookspec = pluggy.HookspecMarker("flowd")
hookimpl = pluggy.HookimplMarker("flowd")


@frozen
class Beside:
    """How processes of one machine follow each other by a kind of source, for `flowd run --edges`:
    one has a sink of kind `sink`, the others such a source.
    """

    sink: str
    follow: Callable[[Any, list[str]], Any]
    """The settings of a source that follows these streams, as a sink of these settings writes
    them."""
    own: Callable[[Path], Any]
    """The settings of a sink that writes into a server of flowd's own, which listens at this path.
    """
    server: Callable[[Path], Sequence[str]]
    """The command of that server: it listens at this path and nowhere else, writes nothing that
    stays, and ends by SIGTERM. UserError that says what to install.
    """


@frozen
class Source:
    """A kind of source: `run(config, feed)` publishes records of class `record` until it ends or
    raises. If it takes three arguments it is `run(config, streams, feed)`: it reads the streams
    that its settings name, records of class `reads`, beside its upstream.
    """

    kind: str
    run: (
        Callable[[Any, Feed[Any]], Awaitable[None]]
        | Callable[[Any, Streams, Feed[Any]], Awaitable[None]]
    )
    config: type
    record: type
    retain: int = 5000
    """How many records its stream retains where the configuration does not say."""
    tables: Mapping[str, type] = Factory(dict)
    """Further streams that it keeps beside its own, with their classes of record: `totals` of the
    component `fills` is the stream `fills.totals`, which `feed.table("totals", ...)` writes.
    """
    reads: type | tuple[type, ...] | None = None
    tables_retain: Mapping[str, int] = Factory(dict)
    """How many records further streams retain, where that is not 100 000."""
    remarks: Callable[[Any], Iterable[str]] | None = None
    """Says of settings that work and may not be meant what to do, in sentences of a line: for
    `flowd check`, and the log at the start.
    """
    streams: Callable[[Any], Awaitable[Mapping[str, Mirrored]]] | None = None
    """`await streams(config)` says which streams of another daemon it carries, by name. Asked
    before anything starts, again and again while it raises UpstreamError. Such a source has no
    stream of its own name: `feed.mirror(name)` is what it writes, and when there are others than it
    was told, it calls `feed.start_over(why)`.
    """
    probe: Callable[[Any, Http], Awaitable[Iterable[str]]] | None = None
    """`await probe(config, http)` asks the upstream what of the settings it cannot serve, such as
    symbols that it does not list: sentences of a line, none when all is well. For `flowd check
    --probe`; UpstreamError when it does not answer.
    """
    standby: bool | Callable[[Any], bool] = False
    """Whether a daemon that stands by may follow the upstream too, beside the one that leads, or of
    which settings; a function is given them. What it publishes by id and without a key, to its
    stream and `tables`, must then be the same whoever is told it, and be all that is needed to fill
    what the leader did not write.
    """
    beside: Beside | None = None
    """Of a kind that carries streams: how processes of one machine are joined by it."""


@frozen
class Transform:
    """A kind of transform: `run(config, streams, feed)` reads the streams that its settings name,
    records of class `reads`, and publishes.
    """

    kind: str
    run: Callable[[Any, Streams, Feed[Any]], Awaitable[None]]
    config: type
    record: type
    reads: type | tuple[type, ...] | None = None
    retain: int = 5000
    """How many records its stream retains where the configuration does not say."""
    tables: Mapping[str, type] = Factory(dict)
    """Further streams, as a source's."""
    tables_retain: Mapping[str, int] = Factory(dict)
    """As a source's."""
    remarks: Callable[[Any], Iterable[str]] | None = None
    """As a source's."""


@frozen
class Sink:
    """A kind of sink. Give at least one of:

    `run(config, streams)`, a task that pushes somewhere; `routes(config, streams)`, a Quart
    Blueprint; `live(config)`, paths where clients stay; `hot(config)`, paths that clients poll.
    `run` and `routes` get the sink's desk if they take a third argument.
    """

    kind: str
    config: type
    run: (
        Callable[[Any, Streams], Awaitable[None]]
        | Callable[[Any, Streams, Desk], Awaitable[None]]
        | None
    ) = None
    routes: (
        Callable[[Any, Streams], Blueprint] | Callable[[Any, Streams, Desk], Blueprint] | None
    ) = None
    live: Callable[[Any], Live | list[Live]] | None = None
    hot: Callable[[Any], Hot | list[Hot]] | None = None
    reads: type | tuple[type, ...] | None = None
    remarks: Callable[[Any], Iterable[str]] | None = None
    """As a source's."""
    asks: bool = False
    """Whether it asks writers of its streams for more than they have, by `Input.ask`. Of several
    processes it is then in the one where they are.
    """


@frozen
class Pair:
    """A kind of ledger that two daemons of one configuration share: `open(config)` is entered once,
    and gives a `Ledger` for as long as the process lives.
    """

    kind: str
    config: type
    open: Callable[[Any], AbstractAsyncContextManager[Ledger]]


@hookspec
def flowd_sources() -> Iterable[Source]:  # type: ignore[empty-body]
    """The kinds of source that this plugin brings."""


@hookspec
def flowd_transforms() -> Iterable[Transform]:  # type: ignore[empty-body]
    """The kinds of transform that this plugin brings."""


@hookspec
def flowd_sinks() -> Iterable[Sink]:  # type: ignore[empty-body]
    """The kinds of sink that this plugin brings."""


@hookspec
def flowd_pairs() -> Iterable[Pair]:  # type: ignore[empty-body]
    """The kinds of ledger that this plugin brings."""


@hookspec
def flowd_commands() -> Iterable[typer.Typer]:  # type: ignore[empty-body]
    """Commands that this plugin adds to `flowd`: each a Typer app with one command, or a named
    group.
    """
