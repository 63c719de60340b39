"""The streams that a component may read, and what it may ask about who writes them."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import frozen

from flowd.stream.log import Cursor, Stream
from flowd.values.clock import Clock, system_clock
from flowd.values.errors import UserError
from flowd.values.filters import ALL, Filter
from flowd.values.record import Batch, Gap, Position
from flowd.values.tally import Tally

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
    a cursor has dealt with is the component's place in the stream: it is remembered over restarts
    of the component, and saved with the snapshot. `read` and `get` leave it alone. The writer may
    append whenever we wait. The daemon closes the stream when it stops, after the stream's writer
    has ended.
    """

    def __init__(
        self,
        stream: Stream[T],
        places: dict[str, int],
        on_gap: Callable[[str, Gap], None] = lambda stream, gap: None,
        delivery: Callable[[], Delivery] = Delivery,
    ) -> None:
        self.delivery = delivery
        """How the component behind the stream stands at this instant."""
        self._stream = stream
        self._places = places
        self._on_gap = on_gap

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

    def __len__(self) -> int:
        return len(self._stream)

    def get(self, key: str) -> T | None:
        """The newest value of a key in a table, None if there is none."""
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
        return self._stream.read(after, first=first, upto=upto, limit=limit, filter=filter)

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
    ) -> Cursor[T]:
        """A reader that goes on where this component last was; at `after`, if given; else all
        retained.
        """
        place = self._places.get(self._stream.name)
        on_gap = self._gap
        if after is None and place is not None:
            return Cursor(self._stream, place, filter=filter, on_read=self._read, on_gap=on_gap)
        plain = self._stream.cursor(after, limit=limit, filter=filter)
        lost = after is not None and not self._stream.knows(after)
        return Cursor(
            self._stream,
            plain.position.seq,
            first=after is None or lost,
            reset=lost,
            filter=filter,
            on_read=self._read,
            on_gap=on_gap,
        )

    def _read(self, seq: int) -> None:
        self._places[self._stream.name] = max(seq, self._places.get(self._stream.name, 0))

    def _gap(self, gap: Gap) -> None:
        self._on_gap(self._stream.name, gap)


class Streams(Mapping[str, Input[Any]]):
    """The streams that a component may read, by name. An unknown name is a UserError that lists
    the others.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream[Any]],
        places: dict[str, int] | None = None,
        on_gap: Callable[[str, Gap], None] = lambda stream, gap: None,
        clock: Clock = system_clock,
        delivery: Callable[[str], Delivery] = lambda stream: Delivery(),
        check_admin: Callable[[str], None] = lambda authorization: None,
        reconnect: Callable[[str], None] = lambda stream: None,
        name: str = "sink",
    ) -> None:
        self.name = name
        """The component whose view of the streams this is."""
        self.tally = Tally()
        """What a sink counts, for `/status`."""
        self.now_ms = clock
        """Wall time, in milliseconds since 1970."""
        self.check_admin = check_admin
        """Takes a client's `Authorization` header; BadRequest when it is not an admin's."""
        self.reconnect = reconnect
        """Start the component behind this stream again; BadRequest when it has ended for good."""
        self._streams = streams
        self._places = {} if places is None else places
        self._on_gap = on_gap
        self._delivery = delivery

    def drop(self, reason: str, sample: object = None, *, count: int = 1) -> None:
        """Count, by reason, what a sink could not do. Each reason is logged at most once a minute,
        with the sample.
        """
        self.tally.drop(self.name, reason, sample, self.now_ms(), count)

    def __getitem__(self, name: str) -> Input[Any]:
        stream = self._streams.get(name)
        if stream is None or stream.private:
            known = ", ".join(self) or "none"
            raise UserError(f"there is no stream {name!r}; there are: {known}")
        return Input(stream, self._places, self._on_gap, partial(self._delivery, name))

    def __contains__(self, name: object) -> bool:
        return name in self._streams and not self._streams[str(name)].private

    def __iter__(self) -> Iterator[str]:
        return (name for name, stream in self._streams.items() if not stream.private)

    def __len__(self) -> int:
        return sum(1 for _ in self)
