"""Streams in Redis, from one daemon to many: what flowd writes there, and how it is read."""

from flowd.plugin import Sink, hookimpl
from flowd_redis.sink import Config, publish


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `redis`."""
    return [Sink("redis", Config, run=publish)]
