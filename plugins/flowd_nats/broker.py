"""Streams of flowd in JetStream: what they are called there, and what a message says beside its
body.

Every message says in a header up to where the stream is there with it, so the newest one answers
where to go on.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import define, field

from flowd.plugin import POSITION, Batch, Desk, Gap, Input, Position, Record, codec, marked
from flowd_nats.jetstream import JetStream, Refused
from flowd_nats.server import Server

ID = "Nats-Msg-Id"
HEADERS_MAX = 512
"""Bytes that the headers of a message have at most, without the name of its stream."""

Message = tuple[Mapping[str, str], bytes]


def named(subject: str) -> str:
    """What the JetStream stream of a subject is called, where dots may not be."""
    return subject.replace(".", "+")


@define(eq=False)
class Nats:
    """What `carry` sends to."""

    server: Server
    desk: Desk
    prefix: str
    limits: Mapping[str, object]
    """What a stream that we create keeps, as JetStream calls it."""
    _jetstream: JetStream = field(init=False)
    _last: dict[str, int] = field(factory=dict, init=False)
    """The last sequence of each stream there, as far as we know,"""
    _known: dict[str, Position | None] = field(factory=dict, init=False)
    """and up to where that has it."""
    _most: dict[str, int] = field(factory=dict, init=False)
    """How many bytes a message of each stream may have."""

    def __attrs_post_init__(self) -> None:
        self._jetstream = JetStream(self.server)

    async def place(self, input: Input[Any]) -> Position | None:
        """Where the newest message of the stream is, which is created if it is not there."""
        stream, subject = input.name, self._subject(input.name)
        state = await self._jetstream.open(named(subject), subject, self.limits)
        most = (await self.server.connected()).max_payload
        self._most[stream] = min(most, state.most) if state.most > 0 else most
        if self._last.get(stream) != state.last:
            self._known[stream] = None if state.empty else await self._newest(subject, state.last)
            self._last[stream] = state.last
        return self._known[stream]

    async def _newest(self, subject: str, last: int) -> Position:
        name = named(subject)
        try:
            headers = await self._jetstream.headers(name, last)
            return Position.parse(headers.get(POSITION, ""))
        except ValueError:
            raise Refused(
                f"stream {name} has messages that flowd did not write: choose another prefix"
            ) from None

    async def keys(self, input: Input[Any]) -> Collection[str]:
        """None: a log is no table."""
        return ()

    async def send(self, batch: Batch[Any]) -> None:
        """One message for each record. What is larger than the server takes is told as a gap."""
        most = self._most[batch.stream] - HEADERS_MAX - 3 * len(self._subject(batch.stream))
        messages = [self._message(record, said, most) for record, said in marked(batch)]
        await self._append(batch.stream, messages, batch.position)

    async def gap(self, stream: str, gap: Gap, after: Position) -> None:
        """A message that says which numbers will not come."""
        position = Position(after.epoch, gap.last)
        await self._append(stream, [missing(gap, after.epoch)], position)

    async def forget(self, stream: str, keys: Sequence[str], after: Position) -> None:
        """A message for each key."""
        headers = {POSITION: str(after)}
        bodies = [b'{"forget":%b}' % codec.encode(key) for key in keys]
        await self._append(stream, [(headers, body) for body in bodies], after)

    async def _append(self, stream: str, messages: Sequence[Message], position: Position) -> None:
        if messages:
            name, last = named(self._subject(stream)), self._last[stream]
            last = await self._jetstream.append(name, self._subject(stream), last, messages)
            self._last[stream] = last
        self._known[stream] = position
        self.desk.tally.connections = self.server.connections

    def _message(self, record: Record[Any], said: Mapping[str, str], most: int) -> Message:
        position = said[POSITION]
        if len(record.json) > most:
            self.desk.drop("larger than the server takes", record.json[:100])
            return missing(Gap(record.seq, record.seq), Position.parse(position).epoch)
        return {ID: position, **said}, record.json

    def _subject(self, stream: str) -> str:
        return f"{self.prefix}.{stream}"


def missing(gap: Gap, epoch: str) -> Message:
    """The message about numbers that will not come."""
    headers = {ID: f"{epoch}.{gap.first}-{gap.last}", POSITION: f"{epoch}.{gap.last}"}
    return headers, b'{"gap":{"first":%d,"last":%d}}' % (gap.first, gap.last)
