"""The streams that a component may read, and what it may ask about who writes them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from attrs import frozen

from flowd.stream.cursor import Cursor
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.reading import Reading
from flowd.values.errors import UserError
from flowd.values.filters import ALL, Filter
from flowd.values.record import Batch, Gap, Position, Record

T = TypeVar("T")


@frozen
class Delivery:
    """How the component behind a stream stands at this instant.

    `delivering` says that records come or could come. `connected` and `connecting` are about a
    source's upstream; a transform is connected while it runs. Times are wall milliseconds, None
    before the first.
    """

    delivering: bool = False
    connected: bool = False
    connecting: bool = False
    last_frame_ms: int | None = None
    """Any sign of life from upstream, also a pong."""
    last_record_ms: int | None = None


class Input(Generic[T]):
    """A stream as one component reads it, and nothing by which it could be changed.

    Reading never waits and takes nothing away; only `news`, `ended` and a cursor's loop wait. What
    its cursors have dealt with, the slowest of them, is the component's place in the stream: it is
    remembered over restarts of the component, and saved with the snapshot. The stream holds what
    comes after it, also beyond what it retains, so that nothing is missed. `read` and `get` leave
    the place alone. The writer may append whenever we wait. The daemon closes the stream when it
    stops, after the stream's writer has ended.
    """

    def __init__(
        self,
        stream: Stream[T],
        places: dict[str, int],
        on_gap: Callable[[Gap, int | None], None] = lambda gap, since_ms: None,
        delivery: Callable[[], Delivery] = Delivery,
        reading: Reading | None = None,
        check: Callable[[str], None] = lambda stream: None,
        ask: Callable[[str], None] = lambda what: None,
    ) -> None:
        self.delivery = delivery
        """How the component behind the stream stands at this instant."""
        self._stream = stream
        self._reading = reading or Reading(stream, places)
        self._on_gap = on_gap
        self._check = check
        self._ask = ask

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._stream.name

    @property
    def record(self) -> type[T]:
        """The class of the records' values."""
        return self._stream.record

    @property
    def head(self) -> Position:
        """The position of the newest record: `cursor(after=input.head)` reads only what is still
        to come.
        """
        return self._stream.head

    @property
    def retain(self) -> Retain:
        """How much of it is kept: `count` records, none older than `age_s`."""
        return self._stream.retain

    def __len__(self) -> int:
        return len(self._stream)

    def get(self, key: str) -> T | None:
        """The newest value of a key in a table, None if there is none."""
        self._check(self.name)
        return self._stream.get(key)

    def read(
        self,
        after: int,
        *,
        first: bool = False,
        upto: int | None = None,
        limit: int | None = None,
        filter: Filter = ALL,
    ) -> Batch[T]:
        """What is newer than the seq `after`, at once: up to and including `upto`, at most `limit`
        records of it. Who starts (`first`) is told of no gap.
        """
        self._check(self.name)
        return self._stream.read(after, first=first, upto=upto, limit=limit, filter=filter)

    def retains(self, record: Record[T]) -> bool:
        """Whether a record that was read here is still there: it did not fall off, and its key
        holds nothing newer.
        """
        return record.seq > self._stream.floor and self._stream.alive(record)

    def ask(self, what: str) -> None:
        """Ask something of the component that writes this stream: a short text, whose meaning is
        that component's affair. Nothing is answered; what comes of it is in the streams. A hundred
        questions may wait, the oldest make room; who does not listen, hears nothing.
        """
        self._check(self.name)
        self._ask(what)

    def knows(self, position: Position) -> bool:
        """Whether a reader may go on at `position`: same epoch, and not from the future."""
        return self._stream.knows(position)

    async def news(self, seq: int) -> bool:
        """Wait until there is something after `seq`; False when the stream was closed and there is
        not.
        """
        return await self._stream.news(seq)

    async def ended(self) -> None:
        """Wait until the stream is closed; what it holds can still be read."""
        await self._stream.ended()

    def cursor(
        self,
        after: Position | None = None,
        *,
        limit: int | None = None,
        filter: Filter = ALL,
        place: str = "",
    ) -> Cursor[T]:
        """A reader that goes on where this component last was; at `after`, if given; else all
        retained.

        A cursor with a name has a `place` of its own, for who reads one stream at several paces. It
        begins where the component's others were.
        """
        self._check(self.name)
        reading = self._reading
        name, goes_on = reading.name(place), after is None
        seq = reading.place(name)
        if after is None and seq is not None:
            after = Position(self._stream.epoch, seq)
        mark = reading.mark(name)
        cursor = self._stream.cursor(
            after,
            limit=limit,
            filter=filter,
            on_gap=self._on_gap,
            held=True,
            mark=mark,
        )
        mark.seq = cursor.position.seq
        if place:
            # From now on it is another one, however far the component's own comes until a crash.
            reading.read(mark, mark.seq)
        elif goes_on:
            # One that begins elsewhere counts from when it has first dealt with something.
            reading.add(mark)
        return cursor


class Streams(Mapping[str, Input[Any]]):
    """The streams that a component may read, by name. An unknown name is a UserError that lists
    the others; in the request of a client who may not read a stream, its name is a BadRequest.
    """

    def __init__(self, inputs: Iterable[Input[Any]]) -> None:
        self._inputs = {input.name: input for input in inputs}

    def __getitem__(self, name: str) -> Input[Any]:
        found = self._inputs.get(name)
        if found is None:
            known = ", ".join(self) or "none"
            raise UserError(f"there is no stream {name!r}; there are: {known}")
        found._check(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._inputs

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)
