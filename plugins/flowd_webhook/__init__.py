"""A flowd sink: POSTs what is new in streams to an address, signed, in order, at least once.

The sink's place moves on only when the receiver has answered. So nothing is lost while the receiver
is down for a while, and what fell off the stream when it was down for too long is told as a gap.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from flowd.plugin import (
    BadRequest,
    Batch,
    Desk,
    Filter,
    Input,
    Seconds,
    Secret,
    Sink,
    StreamName,
    Streams,
    UserError,
    codec,
    filters,
    hookimpl,
)
from flowd_webhook.receiver import Receiver

BATCH_MAX = 1000
BODY_MAX = 1024 * 1024
"""A body with more than one item is not larger than this, in bytes."""


@frozen
class Config:
    """`input` or `inputs` are the streams, each delivered in its own order; `filter` is what is
    wanted of them, as clients say it.

    `each` sends every record by itself, else up to `batch` of them in a list. `start` is where to
    begin the first time ever: with what comes from now on, or with the oldest that is retained.
    """

    url: str | Secret
    input: StreamName | None = None
    inputs: list[StreamName] = field(factory=list)
    secret: Secret | None = None
    filter: dict[str, Any] = field(factory=dict)
    each: bool = False
    batch: int = 100
    every: Seconds = Seconds(1.0)
    timeout: Seconds = Seconds(10.0)
    retry_max: Seconds = Seconds(60.0)
    start: str = field(default="now")

    def __attrs_post_init__(self) -> None:
        # It brings httpx2: only who configures a webhook pays for that, and before the loop turns.
        import_module("httpx2")
        if not self.names:
            raise ValueError("neither input nor inputs: name the streams to deliver")
        if isinstance(self.url, str):
            check_url(self.url)
        if not 1 <= self.batch <= BATCH_MAX:
            raise ValueError(f"batch = {self.batch}: expected 1 to {BATCH_MAX}")
        if self.start not in ("now", "oldest"):
            raise ValueError(f'start = "{self.start}": expected "now" or "oldest"')
        if self.timeout < 0.1 or self.retry_max < 1:
            raise ValueError('expected a timeout from "100ms" and a retry_max from "1s" up')

    @property
    def names(self) -> list[str]:
        """All streams to deliver, each once."""
        return list(dict.fromkeys([*([self.input] if self.input else []), *self.inputs]))


def check_url(url: str) -> None:
    """ValueError for what cannot be posted to; it does not show it, since it may be secret."""
    try:
        parts = urlsplit(url)
        # A port that is none raises where it is asked for.
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("url: expected an address such as https://example.org/hook")


async def webhook(config: Config, streams: Streams, desk: Desk) -> None:
    """Deliver each stream by a task of its own, until all of them end."""
    inputs = [streams[name] for name in config.names]
    url = config.url if isinstance(config.url, str) else config.url.reveal()
    secret = None if config.secret is None else config.secret.reveal()
    try:
        check_url(url)
        wishes = [filters.parse(one.record, config.filter) for one in inputs]
    except ValueError as error:
        raise UserError(f"webhook: {error}") from None
    except BadRequest as error:
        raise UserError(f"webhook: filter.{error.parameter}: {error}") from None
    receiver = Receiver(
        url,
        desk.http,
        secret,
        desk.now_ms,
        desk.drop,
        timeout_s=config.timeout,
        retry_max_s=config.retry_max,
    )
    async with trio.open_nursery() as nursery:
        for one, wanted in zip(inputs, wishes, strict=True):
            nursery.start_soon(deliver, config, one, wanted, receiver, desk)


async def deliver(
    config: Config, source: Input[Any], wanted: Filter, receiver: "Receiver", desk: Desk
) -> None:
    """Send what is new in one stream, and move on when it was taken or refused for good."""
    cursor = source.cursor(filter=wanted)
    while True:
        batch = cursor.read(limit=1 if config.each else config.batch)
        if batch.first and config.start == "now":
            cursor = source.cursor(after=source.head, filter=wanted)
        else:
            for key, body, count in bodies(batch, each=config.each):
                if await receiver.send(body, key, count):
                    desk.tally.published += count
        cursor.done()
        if cursor.position == source.head:
            with trio.move_on_after(config.every):
                await source.ended()
        if not await source.news(cursor.position.seq):
            return
        await trio.lowlevel.checkpoint()


def bodies(batch: Batch[Any], *, each: bool) -> Iterator[tuple[str, bytes, int]]:
    """What to send of a batch: the key, the body, and how many records are in it.

    A gap comes first: in the list, or as a body of its own.
    """
    found = items(batch)
    if each:
        for first, last, item in found:
            yield _key(batch, first, last), item, 1
        return
    while found:
        size, count = 0, 0
        while count < len(found) and (not count or size + len(found[count][2]) <= BODY_MAX):
            size += len(found[count][2]) + 1
            count += 1
        part, found = found[:count], found[count:]
        body = b"[%b]" % b",".join([item for _, _, item in part])
        yield _key(batch, part[0][0], part[-1][1]), body, count


def items(batch: Batch[Any]) -> list[tuple[int, int, bytes]]:
    """A gap, if there is one, and the records: the first and the last seq of each, and its JSON."""
    stream, epoch = codec.encode(batch.stream), batch.position.epoch.encode()
    found: list[tuple[int, int, bytes]] = []
    if batch.gap is not None:
        first, last = batch.gap.first, batch.gap.last
        gap = b'{"stream":%b,"gap":{"first":%d,"last":%d}}' % (stream, first, last)
        found.append((first, last, gap))
    for record in batch.records:
        head = b'{"stream":%b,"position":"%b.%d",' % (stream, epoch, record.seq)
        found.append((record.seq, record.seq, head + record.json[1:]))
    return found


def _key(batch: Batch[Any], first: int, last: int) -> str:
    """The name of a delivery: the same whenever the same records are sent again."""
    reach = f"{first}" if first == last else f"{first}-{last}"
    return f"{batch.stream}:{batch.position.epoch}.{reach}"


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `webhook`."""
    return [Sink("webhook", Config, run=webhook)]
