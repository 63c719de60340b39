"""Streams carried to a broker, each record once and in order, whatever fails on the way.

The broker itself says how far it has a stream: that is asked at the start and after each trouble,
so nothing is sent twice and nothing left out. What fell off the stream meanwhile is told as a gap.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Protocol

import trio
from attrs import define, frozen

from flowd.door.desk import Desk
from flowd.stream.cursor import Cursor
from flowd.stream.inputs import Input
from flowd.values.errors import UpstreamError, unwrap
from flowd.values.record import Batch, Gap, Position, Record

NOWHERE = Position("", 0)
"""A position that no stream knows: who reads from there gets all that is retained."""

POSITION = "Flowd-Position"
"""What stands beside everything in a log: up to where the stream is there with it."""
AFTER = "Flowd-After"
"""What stands beside a record that does not follow the number right before it."""

PORTION = 1000
"""Keys of a table that are compared in one step."""


class Broker(Protocol):
    """What carries streams further. Each method returns when the broker has acknowledged it for
    good, and raises UpstreamError, with a sentence for who runs flowd, when it has not or may not
    have; then `place` is asked before anything else is sent. Of one stream one method at a time is
    called. What is sent late, after its caller has given up, must not be taken where `after` is no
    longer the broker's place.
    """

    async def place(self, input: Input[Any]) -> Position | None:
        """Up to where it has this stream, perhaps of another epoch; None when it has nothing."""
        ...

    async def keys(self, input: Input[Any]) -> Collection[str]:
        """The keys of which it has a record; none where it keeps no tables."""
        ...

    async def send(self, batch: Batch[Any]) -> None:
        """These records, in order; `batch.position` is where the broker is then, `batch.after`
        where it was. A `first` batch, which may be empty, begins the stream's epoch anew.
        """
        ...

    async def gap(self, stream: str, gap: Gap, after: Position) -> None:
        """These numbers will not come: the broker, which is at `after`, goes on behind them."""
        ...

    async def forget(self, stream: str, keys: Sequence[str], after: Position) -> None:
        """The stream holds nothing under these keys any more; the broker stays at `after`."""
        ...


@frozen
class Pace:
    """How much is sent at once, in records and bytes of their JSON, of which one record may have
    more; how patiently it is tried again; how often keys are compared, and a broker that is sent
    nothing is asked what it has.

    Batches of a stream keep `every_s` apart, unless they are full: what is alone goes at once, and
    of many the records of so long share the price of a request.
    """

    count: int = 500
    bytes: int = 1024 * 1024
    every_s: float = 0.005
    retry_s: float = 0.25
    retry_max_s: float = 10.0
    compare_s: float = 1.0
    look_s: float = 5.0


async def carry(
    inputs: Iterable[Input[Any]], broker: Broker, desk: Desk, pace: Pace | None = None
) -> None:
    """Carry these streams until all of them have ended and all is acknowledged.

    While the broker cannot, the desk's `problem` says why, and it is asked again and again; streams
    wait for each other only in what they share of the broker. Anything but UpstreamError ends it.
    In the desk's figures: how many records are `behind`, and by how many `lag_ms` at most; the
    `batches`, `bytes` and `retries` so far.
    """
    lines = _Lines(desk)
    lines.tell()
    lines.troubled()
    desk.tally.refresh = lines.tell
    try:
        async with trio.open_nursery() as nursery:
            for number, input in enumerate(inputs):
                line = _Line(input, broker, lines, pace or Pace(), Random(desk.now_ms() + number))
                lines.all.append(line)
                nursery.start_soon(line.run)
    finally:
        desk.tally.refresh = lambda: None
        lines.tell()


class _Lines:
    """All streams that one sink carries, for its figures and its problem."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.all: list[_Line] = []

    def tell(self) -> None:
        """Tell how far all of them are. It looks at each, so it is done when somebody asks."""
        figures, now_ms = self.desk.tally.figures, self.desk.now_ms()
        for name in ("batches", "bytes", "retries"):
            figures.setdefault(name, 0)
        figures["behind"] = sum(line.behind for line in self.all)
        figures["lag_ms"] = max([line.lag_ms(now_ms) for line in self.all], default=0)

    def troubled(self) -> None:
        """Tell what is wrong with one of them, or that all are well: one has changed."""
        self.desk.problem(next((line.trouble for line in self.all if line.trouble), None))


@define(eq=False)
class _Line:
    """One stream on its way."""

    input: Input[Any]
    broker: Broker
    lines: _Lines
    pace: Pace
    random: Random
    trouble: str | None = None
    told: int = 0
    """The broker has everything up to here, as far as we know."""
    _done: int = 0
    """It has all that is to be had up to here: what was superseded before it was sent is not."""
    _waiting: Cursor[Any] | None = None
    _wait_s: float = 0.0
    _ours: bool = False
    """Whether the broker was seen to have this epoch of it."""

    @property
    def behind(self) -> int:
        """How many numbers the broker has still to get."""
        return max(0, self.input.head.seq - max(self.told, self._done))

    def lag_ms(self, now_ms: int) -> int:
        """How long the oldest of them that is retained has waited."""
        waiting = self.input.read(self.told, first=True, limit=1).records if self.behind else []
        return max(0, now_ms - waiting[0].time_ms) if waiting else 0

    async def run(self) -> None:
        """Carry it until it ends, again and again from where the broker says."""
        # Until the broker has told where it is, what comes is held from where it was last.
        self._waiting = self.input.cursor()
        self.told = self._waiting.position.seq
        while True:
            try:
                if await self._follow():
                    return
                continue
            except* UpstreamError as errors:
                error = unwrap(errors)
                self.trouble = str(error) or type(error).__name__
                asked_s = getattr(error, "retry_s", 0.0)
            self.lines.desk.tally.figures["retries"] += 1
            self.lines.troubled()
            self._wait_s = min(2 * self._wait_s or self.pace.retry_s, self.pace.retry_max_s)
            await trio.sleep(max(asked_s, self._wait_s * (0.5 + self.random.random() / 2)))

    async def _follow(self) -> bool:
        """From where the broker is to the end of the stream; False when the broker turns out to be
        elsewhere, since it lost something. UpstreamError when it fails.
        """
        input = self.input
        place = await self.broker.place(input)
        keys: set[str] = set()
        if place is not None and place.epoch != input.head.epoch and self._ours:
            raise UpstreamError(
                f"another daemon writes {input.name} there, as epoch {place.epoch}: stop one of "
                "them, or give each a prefix of its own. This one takes over when it is started "
                "again"
            )
        if place is not None and input.knows(place):
            self._ours = True
            keys |= set(await self.broker.keys(input))
        elif place is not None and place.epoch == input.head.epoch:
            raise UpstreamError(
                f"it has {input.name} up to {place}, which is more than this daemon has "
                f"({input.head}): another one writes there, or the state here is an old copy. "
                "Nothing is sent until this is set right"
            )
        cursor = input.cursor(after=place or NOWHERE)
        self.told = self._done = cursor.position.seq
        cursor.done()  # whatever its place was before
        self._waiting = None
        compared = -self.pace.compare_s
        looked = trio.current_time()
        ended = False
        while not ended:
            before, began = self.told, trio.current_time()
            full = await self._send(cursor, keys)
            now = trio.current_time()
            # Once it has all that is there, it has a key more only for one that is there no more.
            if len(keys) > len(input) and now - compared >= self.pace.compare_s:
                compared = now
                await self._forget(keys)
            self._well()
            # What is forgotten is no news, nor is what the broker loses: look after a while.
            with trio.move_on_after(self.pace.compare_s if keys else self.pace.look_s):
                ended = not await input.news(cursor.position.seq)
            if self.told != before:
                looked = now
                if not full:
                    await trio.sleep_until(began + self.pace.every_s)
            if ended or now - looked >= self.pace.look_s:
                looked = now
                if await self.broker.place(input) != self._place:
                    return False
        await self._forget(keys)
        return True

    async def _send(self, cursor: Cursor[Any], keys: set[str]) -> bool:
        """Send what is new, as much as goes at once; whether there may be more."""
        batch = cursor.read(self.pace.count)
        if batch.gap is not None:
            await self.broker.gap(batch.stream, batch.gap, self._place)
            self.told = batch.gap.last
        tally = self.lines.desk.tally
        if batch.records:
            await self.lines.desk.shipped()
        for portion in _portions(batch, self._place, self.pace.bytes):
            await self.broker.send(portion)
            self.told, self._ours = portion.position.seq, True
            keys.update(record.key for record in portion.records if record.key is not None)
            tally.published += len(portion.records)
            tally.figures["batches"] += 1
            tally.figures["bytes"] += sum(len(record.json) for record in portion.records)
        cursor.done()
        self._done = cursor.position.seq
        return len(batch.records) >= self.pace.count

    async def _forget(self, keys: set[str]) -> None:
        """Tell which of the broker's keys hold nothing any more."""
        gone: list[str] = []
        for number, key in enumerate(list(keys), 1):
            if self.input.get(key) is None:
                gone.append(key)
            if not number % PORTION:
                await trio.lowlevel.checkpoint()
        # One that came again meanwhile is forgotten and sent anew: it is behind the broker's place.
        for start in range(0, len(gone), PORTION):
            portion = gone[start : start + PORTION]
            await self.broker.forget(self.input.name, portion, self._place)
            keys.difference_update(portion)

    @property
    def _place(self) -> Position:
        return Position(self.input.head.epoch, self.told)

    def _well(self) -> None:
        """All is sent that there is: whatever was wrong is over."""
        self._wait_s = 0.0
        if self.trouble is not None:
            self.trouble = None
            self.lines.troubled()


def _portions(batch: Batch[Any], after: Position, most: int) -> Iterator[Batch[Any]]:
    """The batch in parts of at most so many bytes, each of which begins where the one before it
    leads to. Nothing of an empty batch that does not begin a stream.
    """
    if batch.first:
        after = Position(batch.position.epoch, batch.after)
    first = batch.first
    part: list[Record[Any]] = []
    size = 0
    for record in [*batch.records, None]:
        full = record is None or size + len(record.json) > most
        if full and (part or (first and record is None)):
            position = Position(after.epoch, part[-1].seq) if part else after
            yield Batch(batch.stream, part, position, first, after=after.seq)
            after, first, part, size = position, False, [], 0
        if record is not None:
            part.append(record)
            size += len(record.json)


def marked(batch: Batch[Any]) -> Iterator[tuple[Record[Any], dict[str, str]]]:
    """Each record with what stands beside it in a log, so that its newest entry answers `place`:
    `POSITION`, and `AFTER` where numbers were superseded before they were sent. The first of an
    epoch follows nothing.
    """
    after = None if batch.first else batch.after
    for record in batch.records:
        said = {POSITION: f"{batch.position.epoch}.{record.seq}"}
        if after is not None and after != record.seq - 1:
            said[AFTER] = str(after)
        yield record, said
        after = record.seq
