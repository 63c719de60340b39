"""Streams in Redis, from one daemon to many: what flowd writes there, and how it is read."""

from flowd.plugin import Sink, Source, hookimpl
from flowd_redis import beside, sink, source


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
