"""The log of one stream: the mechanism under everything else in flowd.

A stream never waits and never refuses a record for load: it is a bounded log, and what falls off
its far end is told to whoever had not read it. Between two checkpoints nothing else runs, so plain
lists and dicts are a transaction here and no lock is needed.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar

import trio

from flowd.stream.cursor import Cursor, Mark
from flowd.stream.cut import Changes, Cut, Saved, saved_epoch
from flowd.stream.held import Behind, Held, Retain
from flowd.stream.seek import seek
from flowd.stream.seen import Seen
from flowd.values.clock import Clock, onward
from flowd.values.filters import ALL, Filter
from flowd.values.record import Batch, Gap, Position, Record

T = TypeVar("T")

COMPACT_FROM = 64
"""Dead places in a log that are not worth tidying up."""
COMPACT_AT_MOST = 512
"""What fell off is tidied up in portions of so many: all at once would hold the loop."""

_seq = attrgetter("seq")


class Stream(Generic[T]):
    """A named log of the newest records of one type; a history, or a table where records have
    keys.

    One component writes, any number read, and nobody waits for anybody: writing and reading are
    done at once, from any task at any time. Only `news`, `ended` and a cursor's loop wait. The
    daemon closes a stream, after its writer has ended. Then appending is a mistake, what is
    retained can still be read, and every reader's loop ends after its last batch. Writing raises
    for what does not belong here or cannot be written as JSON; nothing else raises.
    """

    def __init__(
        self,
        name: str,
        record: type[T],
        *,
        clock: Clock,
        epoch: str,
        retain: Retain | None = None,
        behind: Behind | None = None,
        private: bool = False,
        mirrored: bool = False,
    ) -> None:
        self.name = name
        self.record = record
        self.epoch = epoch
        self.retain = retain or Retain()
        self.private = private
        self.mirrored = mirrored
        """Another daemon numbers its records, and may have told its readers more than is here."""
        self.skipped: Gap | None = None
        """What never came here, of late: no reader is to blame for it."""
        self._count, self._age_s = self.retain.count, self.retain.age_s
        self.closed = False
        self.seq = 0
        self.floor = 0
        """Everything up to this seq has fallen off for age or number."""
        self.held: Held[T] = Held(behind or Behind())
        """What fell off and readers within the daemon have still to read."""
        self.on_full: Callable[[], None] = lambda: None
        """Called for each key that falls off; it must not raise."""
        self._clock = clock
        self._time_ms = 0
        self._log: list[Record[T]] = []
        self._start = 0
        self._dead = 0
        self._latest: dict[str, Record[T]] = {}
        self.seen = Seen()
        self._forgotten: dict[str, None] = {}
        self._changes: Changes = []
        self._number = -1
        self._readers = trio.lowlevel.ParkingLot()

    # -- writing --

    def append(
        self, value: T, *, key: str | None = None, id: str | None = None
    ) -> Record[T] | None:
        """Add a value at the head. None when it is no news: its `id` was seen, or its `key` holds
        an equal value.

        What cannot be written fails here and leaves no trace: it costs the component that appends
        it a restart, where it would cost whoever reads or saves it the daemon.
        """
        assert not self.closed
        self._check(value)
        if id is not None:
            if id in self.seen:
                return None
            id.encode()
        before = None if key is None else self._latest.get(key)
        if before is not None and before.value == value:
            if id is not None:
                self.seen.remember(id)
                self._note((self._number, 0, 0, None, b"", id))
            return None
        record = Record(self.seq + 1, onward(self._time_ms, self._clock()), value, key)
        assert record.json
        self._put(record, before, id)
        return record

    def take(self, record: Record[T], *, id: str | None = None) -> None:
        """Add a record as another daemon has numbered and written it: with its seq, time, key and
        JSON. AssertionError unless it is newer than the head, TypeError where it does not belong.
        """
        assert not self.closed
        assert record.seq > self.seq
        self._check(record.value)
        before = None if record.key is None else self._latest.get(record.key)
        self._put(record, before, None if id is None or id in self.seen else id)

    def skip(self, upto: int, *, lost: bool = True) -> None:
        """Go on behind this seq: what another daemon appended up to there does not come. What was
        retained falls off too, also for readers within, so that nobody reads over a hole; unless it
        is not `lost`, but superseded or forgotten.
        """
        assert upto > self.seq
        if lost:
            self.skipped = Gap(self.seq + 1, upto)
            self._log, self._start, self._dead = [], 0, 0
            self._latest.clear()
            self.held.clear(upto)
            self.floor = upto
        self.seq = upto
        self._note((self._number, upto, upto if lost else 0, False, None))
        self._readers.unpark_all()

    def _check(self, value: object) -> None:
        if not isinstance(value, self.record):
            wrong = f"not {type(value).__name__}: {value!r:.60}"
            raise TypeError(f"{self.name} carries {self.record.__name__}, {wrong}")

    def _put(self, record: Record[T], before: Record[T] | None, id: str | None) -> None:
        key = record.key
        if id is not None:
            self.seen.remember(id)
        self.seq, self._time_ms = record.seq, record.time_ms
        self._log.append(record)
        self._note((self._number, record.seq, record.time_ms, key, record.json, id))
        if key is not None:
            if before is not None:
                self._dead += 1
                place = bisect_right(self._log, before.seq, self._start, key=_seq) - 1
                self._log[place] = before.hollow()  # Half of a log may be such ones.
                del self._latest[key]  # Anew at the end: its order is the log's.
            self._latest[key] = record
            self._forgotten.pop(key, None)
        if len(self._log) - self._start - self._dead > self._count or self._age_s is not None:
            self._trim()
        elif self._dead > COMPACT_FROM:
            self._compact()
        if self._readers:
            self._readers.unpark_all()

    def forget(self, key: str) -> None:
        """Drop a key's record. Readers are not told: use it for what has outlived its retention."""
        if self._latest.pop(key, None) is not None:
            self._dead += 1
            self._forgotten[key] = None
            self._note((self._number, key))
            self._compact()

    def journal(self, changes: Changes, number: int) -> None:
        """From here on, note what changes there, as `flowd.stream.journal` words it, under this
        number.
        """
        self._changes, self._number = changes, number

    def _note(self, change: Sequence[object]) -> None:
        if self._number >= 0:
            self._changes.append(change)

    def close(self) -> None:
        """End every reader's loop after its last batch. Nothing can be appended any more."""
        self.closed = True
        self._readers.unpark_all()

    def _trim(self) -> None:
        """Let fall off what is over the number or the age; raise the floor to what fell."""
        while len(self) > self.retain.count:
            self._drop_oldest()
        if self.retain.age_s is not None and self._start < len(self._log):
            horizon = self._clock() - self.retain.age_s * 1000
            while self._start < len(self._log) and self._log[self._start].time_ms < horizon:
                self._drop_oldest()
        self._compact()

    def _drop_oldest(self) -> None:
        record = self._log[self._start]
        self._start += 1
        if record.key is None or self._latest.get(record.key) is record:
            self.floor = record.seq
            if record.key is not None:
                del self._latest[record.key]
            self.held.take(record)
            if record.key is not None:
                self.on_full()
            if record.key is not None and self.held.lost >= record.seq:
                self._note((self._number, record.key, record.seq, True))
        else:
            self._dead -= 1

    def _compact(self) -> None:
        """Give back the memory of what fell off or was superseded, once that is more than half of
        the log.
        """
        if self._start > COMPACT_FROM and (
            self._start * 2 > len(self._log) or self._start > COMPACT_AT_MOST
        ):
            del self._log[: self._start]
            self._start = 0
        if self._dead > COMPACT_FROM and self._dead * 2 > len(self._log) - self._start:
            keyed = len(self) == len(self._latest)
            alive = (record for record in self._log[self._start :] if self.alive(record))
            self._log = list(self._latest.values() if keyed else alive)
            self._start = self._dead = 0

    def alive(self, record: Record[T]) -> bool:
        """Whether its key holds it still; always, where it has none."""
        return record.key is None or self._latest.get(record.key) is record

    def __len__(self) -> int:
        return len(self._log) - self._start - self._dead

    @property
    def head(self) -> Position:
        """The position of the newest record ever appended."""
        return Position(self.epoch, self.seq)

    @property
    def version(self) -> str:
        """What is retained, as a word that no two contents share: it moves with each append,
        `forget` and drop, and is the same again after a restart.

        It is the head's position, and behind it how many records are left where some may go without
        a new one coming: at one head a log only ever gets shorter.
        """
        if self.retain.age_s is not None:
            self._trim()
            return f"{self.epoch}.{self.seq}-{len(self)}"
        whole = len(self) == self.seq - self.floor
        return f"{self.epoch}.{self.seq}" if whole else f"{self.epoch}.{self.seq}-{len(self)}"

    def get(self, key: str) -> T | None:
        """The newest value of a key, None if there is none."""
        record = self._latest.get(key)
        return None if record is None else record.value

    def after(
        self, seq: int, *, upto: int | None = None, most: int | None = None
    ) -> list[Record[T]]:
        """All retained records newer than `seq`, up to and including `upto`, or the first `most` of
        them; oldest first.
        """
        log = self._log
        low = bisect_right(log, seq, self._start, key=_seq)
        high = (
            len(log) if upto is None or upto >= self.seq else bisect_right(log, upto, low, key=_seq)
        )
        if self._dead:
            return list(islice(filter(self.alive, islice(log, low, high)), most))
        return log[low : high if most is None else min(high, low + most)]

    def read(
        self,
        after: int,
        *,
        first: bool = False,
        upto: int | None = None,
        limit: int | None = None,
        filter: Filter = ALL,
        held: bool = False,
    ) -> Batch[T]:
        """What a reader at `after` has not read yet, at most `limit` records of it; never waits.

        The position moves past what the filter hides. A reader who starts (`first`) suffers no gap.
        Who is within the daemon is also given what is `held`.
        """
        if self.retain.age_s is not None:
            self._trim()
        upto = self.seq if upto is None else upto
        floor = self.held.lost if held else self.floor
        gap = Gap(after + 1, min(floor, upto)) if after < floor and not first else None
        most = None if limit is None else limit + 1  # One more tells whether there is more.
        records = self.held.after(after, upto, most) if held else []
        if most is None or len(records) < most:
            rest = None if most is None else most - len(records)
            records += self.after(after, upto=upto, most=rest)
        place = upto
        if limit is not None and len(records) > limit:
            records = records[:limit]
            place = records[-1].seq
        if filter.where is not None:
            where = filter.where
            records = [record for record in records if where(record.value)]
        # Who comes from another daemon may know more than is here yet.
        place = max(place, after)
        return Batch(self.name, records, Position(self.epoch, place), first, gap, after=after)

    def newest(self, count: int, filter: Filter = ALL) -> int:
        """The seq after which exactly the newest `count` matching records lie; 0 when there are
        fewer.
        """
        return next(seq for seq in seek(self, count, filter) if seq is not None)

    def knows(self, position: Position) -> bool:
        """Whether a reader may resume at `position`: same epoch, and not from the future, unless
        another daemon may have told it.
        """
        return position.epoch == self.epoch and (self.mirrored or position.seq <= self.seq)

    async def news(self, seq: int) -> bool:
        """Wait until there is something after `seq`; False when the stream was closed and there is
        not.
        """
        while self.seq <= seq:
            if self.closed:
                return False
            await self._readers.park()
        return True

    async def ended(self) -> None:
        """Wait until the stream is closed."""
        while not self.closed:
            await self._readers.park()

    def cursor(
        self,
        after: Position | None = None,
        *,
        limit: int | None = None,
        filter: Filter = ALL,
        on_gap: Callable[[Gap, int | None], None] | None = None,
        held: bool = False,
        mark: Mark | None = None,
    ) -> Cursor[T]:
        """A reader: everything retained (its newest `limit`), or what is newer than `after`, and
        then live. A position that means nothing here gets a reset. Who is within the daemon is also
        given what is `held`.
        """
        if after is not None and self.knows(after):
            start, first, reset = after.seq, False, False
        else:
            # What is held for others is no beginning.
            start = self.floor if limit is None else max(self.floor, self.newest(limit, filter))
            first, reset = True, after is not None
        asked: Any = {"filter": filter, "on_gap": on_gap, "held": held, "mark": mark}
        return Cursor(self, start, first=first, reset=reset, **asked)

    def cut(self, seq: int, seen_total: int) -> Cut:
        """What came after the save that ended at `seq` and `seen_total`."""
        seen = self.seen.since(seen_total)
        self.held.let_go()
        # What is still held must survive as well: the places of its readers do.
        held, records = self.held.after(seq, self.floor), self.after(seq)
        records = [*held, *records] if held else records  # Copied once: there may be thousands.
        epoch, length = saved_epoch(self), len(self) + len(self.held)
        head, total = (self.name, epoch, self.seq, self.held.lost), self.seen.total
        return Cut(*head, records, list(self._forgotten), seen, total, length, seq == 0)

    def was_saved(self, cut: Cut) -> None:
        """Forget the forgotten: their rows are gone from the store."""
        for key in cut.forgotten:
            self._forgotten.pop(key, None)

    def restore(self, saved: Saved[T]) -> None:
        """Go on from a snapshot. Only for a stream that nobody has written to or read from."""
        assert self.seq == 0
        self.seq = saved.seq
        self.floor = self.held.lost = saved.floor
        for record in saved.records:
            self._log.append(record)
            if record.key is not None:
                self._latest[record.key] = record
            self._time_ms = record.time_ms
        self.seen.restore(saved.seen, saved.seen_total)
        from_the_start = int  # Who reads it has yet to join.
        self.held.join(from_the_start)
        self._trim()
        self.held.leave(from_the_start)

    @property
    def newest_record(self) -> Record[T] | None:
        """The newest record, None when none is retained."""
        return self._log[-1] if len(self._log) > self._start else None
