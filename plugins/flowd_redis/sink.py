"""A flowd sink: streams in Redis, for other daemons and whoever reads Redis."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import trio
from attrs import frozen

from flowd.plugin import (
    Batch,
    Desk,
    Gap,
    Input,
    Pace,
    Position,
    Record,
    Seconds,
    Secret,
    Size,
    StreamName,
    Streams,
    UpstreamError,
    carry,
)
from flowd_redis import scripts
from flowd_redis.beats import Beats
from flowd_redis.ingest import INGEST
from flowd_redis.layout import Keys, Meta
from flowd_redis.server import Login, Server, check, check_prefix, dialled

BATCH_MAX = 5000
FENCED = scripts.FENCED.encode()
KEYS_AT_ONCE = 1000
"""Keys of a table that are asked for at once."""
ANNOUNCE_S = 5.0


@frozen
class Config:
    """`inputs` are the streams that go to the server at `url`, under keys that begin with `prefix`.
    `username` and `password` are those of an ACL user; `ca` is a file with who signed its
    certificate, where the system does not know them. It must answer within `timeout`. Up to `batch`
    records, of at most `batch_size` together, are sent at once.
    """

    url: str | Secret
    inputs: list[StreamName]
    prefix: str = "flowd"
    username: str | None = None
    password: Secret | None = None
    ca: str | None = None
    timeout: Seconds = Seconds(5.0)
    batch: int = 500
    batch_size: Size = Size(1024 * 1024)

    def __attrs_post_init__(self) -> None:
        check(self.url)
        if not self.inputs:
            raise ValueError("inputs = []: name at least one stream")
        check_prefix(self.prefix)
        if not 1 <= self.batch <= BATCH_MAX:
            raise ValueError(f"batch = {self.batch}: expected 1 to {BATCH_MAX}")
        if self.batch_size < 1024:
            raise ValueError(f"batch_size = {self.batch_size}: expected at least 1KiB")
        if self.timeout < 0.1:
            raise ValueError('expected a timeout from "100ms" up')

    @property
    def login(self) -> Login:
        """How the server is reached."""
        return Login(self.url, self.username, self.password, self.ca, self.timeout)


async def publish(config: Config, streams: Streams, desk: Desk) -> None:
    """Carry the inputs to Redis until they end."""
    inputs = [streams[name] for name in dict.fromkeys(config.inputs)]
    pace = Pace(config.batch, config.batch_size)
    keys = Keys(config.prefix)
    async with dialled(config.login) as server:
        broker = RedisBroker(server, keys, inputs, desk)
        beats = Beats(desk.name, desk.peers, desk.now_ms, server, keys)
        async with beats.until_the_end(config.login), trio.open_nursery() as nursery:
            nursery.start_soon(beats.run, partial(_tell, desk))
            await carry(inputs, broker, desk, pace)
            nursery.cancel_scope.cancel()


def _tell(desk: Desk) -> None:
    """What this sink makes of the daemon."""
    figures = {name: round(desk.tally.figures.get(name, 0)) for name in ("behind", "lag_ms")}
    desk.peers.tell(desk.name, INGEST, **figures, problem=desk.tally.problem)


class RedisBroker:
    """What `carry` asks of a broker, for Redis: each act is a script, and has happened wholly when
    it is answered.
    """

    def __init__(
        self, server: Server, keys: Keys, inputs: Sequence[Input[Any]], desk: Desk
    ) -> None:
        self._server = server
        self._keys = keys
        self._inputs = {input.name: input for input in inputs}
        self._desk = desk
        register = server.client.register_script
        self._place = register(scripts.PLACE)
        self._add = register(scripts.ADD)
        self._begin = register(scripts.BEGIN)
        self._gap = register(scripts.GAP)
        self._forget = register(scripts.FORGET)
        self._begun: set[str] = set()
        """Streams that Redis has in our epoch."""
        self._announced = -ANNOUNCE_S
        self._over: dict[str, str] = {}
        """The epoch of a stream that was current there before ours."""

    async def place(self, input: Input[Any]) -> Position | None:
        """Up to where Redis has the stream. What the stream is, is set right there."""
        name, epoch = input.name, input.head.epoch
        fields = self._describe(input)
        arguments: list[Any] = [
            epoch,
            *(part for pair in fields.items() for part in pair),
            self._desk.fence,
        ]
        await self._announce()
        found = await self._ask(name, self._place(self._of(name, epoch), arguments))
        if found == FENCED:
            raise self._fenced(name)
        if not found:
            return None
        there = Position(found[0].decode(), int(found[1]))
        if there.epoch != epoch:
            self._over[name] = there.epoch
        else:
            self._begun.add(name)
        return there

    async def keys(self, input: Input[Any]) -> Collection[str]:
        """The keys of the stream's table there."""
        key, cursor = self._keys.table(input.name, input.head.epoch), 0
        found: set[str] = set()
        while True:
            scan = self._server.client.hscan(key, cursor=cursor, count=KEYS_AT_ONCE)
            cursor, part = await self._ask(input.name, scan)
            found.update(one.decode() for one in part)
            if not cursor:
                return found

    async def send(self, batch: Batch[Any]) -> None:
        """Add records; a first batch makes our epoch the current one."""
        name, epoch = batch.stream, batch.position.epoch
        input, keys = self._inputs[name], self._of(name, epoch)
        newest_ms = batch.records[-1].time_ms if batch.records else 0
        head: list[Any] = [epoch, batch.after, newest_ms, input.retain.count, _oldest(input, batch)]
        records = _arguments(batch)
        await self._announce()
        if not batch.first:
            return await self._done(name, self._add(keys, [*head, *records, self._desk.fence]))
        await self._ask(name, self._server.client.sadd(self._keys.streams, [name]))
        fields = {**self._describe(input), "table": "0"}
        over = self._over.get(name)
        if over is not None:
            keys += self._of(name, over)[1:]
        told: list[Any] = [len(fields), *(part for pair in fields.items() for part in pair)]
        await self._done(name, self._begin(keys, [*head, *told, *records, self._desk.fence]))
        self._begun.add(name)

    async def gap(self, stream: str, gap: Gap, after: Position) -> None:
        """Say there what is missing."""
        arguments: list[Any] = [after.epoch, after.seq, gap.first, gap.last, self._desk.fence]
        await self._done(stream, self._gap(self._of(stream, after.epoch), arguments))

    async def forget(self, stream: str, keys: Sequence[str], after: Position) -> None:
        """Take keys out of the table there, and say so."""
        arguments: list[Any] = [after.epoch, after.seq, *keys, self._desk.fence]
        await self._done(stream, self._forget(self._of(stream, after.epoch), arguments))

    async def _announce(self) -> None:
        """See to it that those who read find the streams that are there: now and then, since what
        is said of them may be lost alone.
        """
        now = trio.current_time()
        if self._begun and now - self._announced >= ANNOUNCE_S:
            self._announced = now
            names = sorted(self._begun)
            await self._ask(names[0], self._server.client.sadd(self._keys.streams, names))

    def _of(self, stream: str, epoch: str) -> list[str]:
        keys = self._keys
        return [keys.meta(stream), keys.entries(stream, epoch), keys.table(stream, epoch)]

    def _describe(self, input: Input[Any]) -> dict[str, str]:
        """What a stream is, as fields of its hash."""
        age_s = input.retain.age_s
        meta = Meta(
            input.head.epoch,
            input.record.__name__,
            input.retain.count,
            None if age_s is None else round(age_s * 1000),
            self._desk.protected(input.name),
            kind=self._desk.kinds.get(input.name, ""),
        ).encode()
        return {name: meta[name] for name in ("record", "kind", "retain", "age_ms", "protected")}

    async def _ask(self, stream: str, request: Any) -> Any:
        try:
            return await self._server.ask(request)
        except UpstreamError as error:
            raise UpstreamError(f"{stream} to Redis at {error}") from None

    def _fenced(self, stream: str) -> UpstreamError:
        return UpstreamError(
            f"{stream} to Redis at {self._server.where}: the other daemon of the pair leads"
        )

    async def _done(self, stream: str, request: Any) -> None:
        """UpstreamError where Redis is not where we thought: then nothing was done."""
        answer = await self._ask(stream, request)
        if answer == FENCED:
            raise self._fenced(stream)
        if answer != b"OK":
            raise UpstreamError(
                f"{stream} to Redis at {self._server.where}: {answer.decode()}; going on from there"
            )


def _arguments(batch: Batch[Any]) -> list[Any]:
    """The records, as the scripts take them."""
    found: list[Any] = []
    after = batch.after
    for record in batch.records:
        key = "" if record.key is None else f"={record.key}"
        found += [record.seq, record.json, key, "" if after == record.seq - 1 else after]
        after = record.seq
    return found


def _oldest(input: Input[Any], batch: Batch[Any]) -> int | str:
    """What is older than this has outlived its age; "" where that is no matter. A table's may be as
    old as they like among newer ones.
    """
    records: list[Record[Any]] = batch.records
    if input.retain.age_s is None or not records or records[0].key is not None:
        return ""
    retained = input.read(0, first=True, limit=1).records
    return retained[0].seq if retained else ""
