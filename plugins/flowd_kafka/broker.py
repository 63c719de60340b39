"""Streams of flowd in Kafka: which topic, which key, and what a record says beside its value.

Every record says in a header up to where the stream is there with it, so the last one answers where
to go on.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field

from flowd.plugin import POSITION, Batch, Desk, Gap, Input, Position, Record, marked
from flowd_kafka.cluster import Cluster, Message, TooLarge, Trouble

GAP = "Flowd-Gap"
GAP_KEY = b"flowd-gap"
"""A gap has this key and no value: so it is no row of a table, and compacted topics take it."""
HEADERS_MAX = 512


@define(eq=False)
class Kafka:
    """What `carry` sends to."""

    cluster: Cluster
    desk: Desk
    prefix: str
    most: int
    """Bytes of a record, with its headers, that the client takes."""
    _end: dict[str, int] = field(factory=dict, init=False)
    """Where each stream's topic ends, as far as we know,"""
    _known: dict[str, Position | None] = field(factory=dict, init=False)
    """and up to where that has it."""
    _given: dict[str, tuple[int, int]] = field(factory=dict, init=False)
    """The first and the last record that was sent at once."""
    _singly_upto: dict[str, int] = field(factory=dict, init=False)
    """Up to here records are sent one by one: some of them were too large together."""
    _too_large: dict[str, int] = field(factory=dict, init=False)
    """The record of each stream that was too large by itself."""

    async def place(self, input: Input[Any]) -> Position | None:
        """Where the last record of the topic is."""
        stream = input.name
        with self._noting(stream):
            end = await self.cluster.end(self._topic(stream))
        self.desk.tally.connections = self.cluster.connections
        if self._end.get(stream) != end:
            self._known[stream] = await self._newest(self._topic(stream))
            self._end[stream] = end
        await self._tell_missed(stream)
        return self._known[stream]

    async def _tell_missed(self, stream: str) -> None:
        """Tell of what was refused while something behind it was taken; late, but told."""
        topic, known = self._topic(stream), self._known[stream]
        missed = self.cluster.missed.get(topic, [])
        if missed and known is not None:
            await self._append(stream, [late(message, known) for message in missed], known)
            records = [message for message in missed if message.value is not None]
            self.desk.drop("refused by Kafka", count=len(records))
        self.cluster.missed.pop(topic, None)

    async def _newest(self, topic: str) -> Position | None:
        headers = await self.cluster.newest(topic)
        if headers is None:
            return None
        try:
            return Position.parse(headers.get(POSITION, ""))
        except ValueError:
            raise Trouble(
                f"topic {topic} has records that flowd did not write: choose another prefix"
            ) from None

    async def keys(self, input: Input[Any]) -> Collection[str]:
        """None: a log is no table."""
        return ()

    async def send(self, batch: Batch[Any]) -> None:
        """A record for each. What is larger than Kafka takes is told as a gap."""
        stream, epoch = batch.stream, batch.position.epoch
        pairs = marked(batch)
        found = [(record.seq, self._message(stream, record, said)) for record, said in pairs]
        if not found:
            self._known[stream] = batch.position
            return
        singly = found[0][0] <= self._singly_upto.get(stream, 0)
        for part in [[one] for one in found] if singly else [found]:
            self._given[stream] = (part[0][0], part[-1][0])
            position = Position(epoch, part[-1][0])
            await self._append(stream, [message for _, message in part], position)

    async def gap(self, stream: str, gap: Gap, after: Position) -> None:
        """A record without a value that says in a header which numbers will not come."""
        position = Position(after.epoch, gap.last)
        self._given.pop(stream, None)
        await self._append(stream, [missing(gap, after.epoch)], position)

    async def forget(self, stream: str, keys: Sequence[str], after: Position) -> None:
        """A record without a value for each key."""
        headers = {POSITION: str(after)}
        self._given.pop(stream, None)
        await self._append(stream, [Message(key.encode(), None, headers) for key in keys], after)

    async def _append(self, stream: str, messages: Sequence[Message], position: Position) -> None:
        with self._noting(stream):
            self._end[stream] = await self.cluster.append(self._topic(stream), messages)
        self._known[stream] = position

    @contextmanager
    def _noting(self, stream: str) -> Iterator[None]:
        """What was too large is sent otherwise the next time."""
        try:
            yield
        except TooLarge:
            first, last = self._given.get(stream, (0, 0))
            if first < last:
                self._singly_upto[stream] = last
            else:
                self._too_large[stream] = first
            raise

    def _message(self, stream: str, record: Record[Any], said: Mapping[str, str]) -> Message:
        key = None if record.key is None else record.key.encode()
        size = len(record.json) + len(key or b"") + HEADERS_MAX
        if size > self.most or self._too_large.get(stream) == record.seq:
            self.desk.drop("larger than Kafka takes", record.json[:100])
            return missing(Gap(record.seq, record.seq), Position.parse(said[POSITION]).epoch)
        return Message(key, record.json, said)

    def _topic(self, stream: str) -> str:
        return f"{self.prefix}.{stream}"


def missing(gap: Gap, epoch: str) -> Message:
    """The record about numbers that will not come."""
    headers = {POSITION: f"{epoch}.{gap.last}", GAP: f"{gap.first}-{gap.last}"}
    return Message(GAP_KEY, None, headers)


def late(message: Message, newest: Position) -> Message:
    """What says that a message was refused though those behind it, up to `newest`, were not: a gap
    for a record, and what is no record again.
    """
    if message.value is None:
        return evolve(message, headers={**message.headers, POSITION: str(newest)})
    seq = Position.parse(message.headers[POSITION]).seq
    gap = missing(Gap(seq, seq), newest.epoch)
    return evolve(gap, headers={**gap.headers, POSITION: str(newest)})
