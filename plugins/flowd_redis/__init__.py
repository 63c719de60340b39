"""Streams in Redis, from one daemon to many: what flowd writes there, and how it is read."""

from flowd.plugin import Pair, Sink, Source, hookimpl
from flowd_redis import beside, ledger, sink, source


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `redis`: the streams of another daemon."""
    return [
        Source(
            "redis",
            source.follow,
            source.Config,
            object,
            streams=source.discover,
            beside=beside.BESIDE,
        )
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `redis`."""
    return [Sink("redis", sink.Config, run=sink.publish)]


@hookimpl
def flowd_pairs() -> list[Pair]:
    """The kind `redis`: two daemons that meet there."""
    return [Pair("redis", ledger.Config, ledger.open_ledger)]
