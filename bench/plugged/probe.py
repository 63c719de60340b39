"""A plugin of the benchmark's: a source of records of any length, and a sink that notes when each
record was there. By `--plugins-dir`.
"""

import struct
import time
from pathlib import Path

import trio
from attrs import frozen

from flowd.plugin import Feed, Sink, Source, StreamName, Streams, UpstreamError, hookimpl

ARRIVED = struct.Struct("<Qd")
"""What is noted of a record: its number, and the wall clock."""
RECEIVE_BYTES = 64 * 1024


@frozen
class Text:
    """A record: so many bytes."""

    text: str


@frozen
class Lines:
    """`port` is where lines come from, each of which becomes a record."""

    port: int


@frozen
class Arrivals:
    """`input` is watched, and what came is noted in the file at `path`."""

    input: StreamName
    path: str


async def lines(config: Lines, feed: Feed[Text]) -> None:
    """Publish each line, in order, for ever."""
    stream = await trio.open_tcp_stream("127.0.0.1", config.port)
    rest = b""
    async with stream:
        feed.delivering()
        async for data in stream:
            *whole, rest = (rest + data).split(b"\n")
            for number, line in enumerate(whole, 1):
                feed.publish(Text(line.decode()))
                if not number % 50:
                    await trio.lowlevel.checkpoint()
    raise UpstreamError("the lines have ended")


async def arrivals(config: Arrivals, streams: Streams) -> None:
    """Note when each record can be read here, until the stream ends."""
    with Path(config.path).open("ab", buffering=0) as noted:  # noqa: ASYNC230
        async for batch in streams[config.input].cursor():
            now = time.time()
            noted.write(b"".join(ARRIVED.pack(record.seq, now) for record in batch.records))


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `bench-lines`."""
    return [Source("bench-lines", lines, Lines, record=Text)]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `bench-arrivals`."""
    return [Sink("bench-arrivals", Arrivals, run=arrivals)]
