"""How far one component has dealt with one stream, and so what must be held for it."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from attrs import frozen

from flowd.stream.cursor import Hand, Mark
from flowd.stream.log import Stream


@frozen
class Taken:
    """Records of one stream that were handed out and not dealt with."""

    stream: str
    first: int
    last: int

    def __str__(self) -> str:
        if self.first == self.last:
            return f"record {self.first} of {self.stream}"
        return f"records {self.first} to {self.last} of {self.stream}"


class Reading:
    """One component's places in one stream, which it shares with the snapshot.

    A place is that of the slowest cursor that shares it, and never goes back. The stream holds
    what comes after the slowest of all, from the first cursor on; from the start for a component
    that is configured to read it (`reads`).
    """

    def __init__(
        self,
        stream: Stream[Any],
        places: dict[str, int],
        reads: bool = False,
        on_move: Callable[[str, int], None] = lambda name, seq: None,
    ) -> None:
        self._on_move = on_move
        self._stream = stream
        self._places = places
        self._marks: WeakSet[Mark] = WeakSet()
        self._hand = Hand()
        """Of the cursor that was made last."""
        self._before: Taken | None = None
        """What was in hand at the failure before."""
        self._singly_upto = 0
        self._reads = False
        if reads:
            self.hold()

    def name(self, place: str) -> str:
        """What one of its places is called among all of the component."""
        return f"{self._stream.name}#{place}" if place else self._stream.name

    def place(self, name: str) -> int | None:
        """Where to go on; a place that is new begins where the component's own was."""
        return self._places.get(name, self._places.get(self._stream.name))

    def mark(self, name: str) -> Mark:
        """The mark of a new cursor; `add` makes it count."""
        self._hand = Hand(place=name, singly_upto=self._singly_upto)
        return Mark(0, self._hand, self.read)

    def add(self, mark: Mark) -> None:
        """This cursor counts, too."""
        self._marks.add(mark)
        self.hold()

    def begin(self) -> None:
        """A new life of the component begins: cursors of an earlier one do not count any more."""
        self._marks.clear()
        self._hand = Hand()

    @property
    def taken(self) -> Taken | None:
        """What the component has in hand of this stream, in this life of it."""
        hand = self._hand
        return Taken(self._stream.name, hand.first, hand.last) if hand.first else None

    def failed(self, skip: bool) -> bool:
        """The component failed with what it has in hand. A batch comes again record by record, so
        that the second failure in a row is one record's; true when it was, and it is to `skip` that
        one.
        """
        taken, before = self.taken, self._before
        self._before = taken
        if taken is None:
            return False
        if taken.first < taken.last:
            self._singly_upto = taken.last
        elif skip and before is not None and before.first <= taken.first <= before.last:
            self._move(self._hand.place, taken.last)
            return True
        return False

    def read(self, mark: Mark, seq: int) -> None:
        """A cursor has dealt with all up to here."""
        mark.seq = seq
        if mark not in self._marks:
            self.add(mark)
        if len(self._marks) > 1:
            place = mark.hand.place
            seq = min([one.seq for one in self._marks if one.hand.place == place])
        self._move(mark.hand.place, seq)

    def _move(self, place: str, seq: int) -> None:
        if seq > self._places.get(place, -1):
            self._places[place] = seq
            self._on_move(place, seq)

    def hold(self) -> None:
        """From here on the stream holds what this component has not dealt with."""
        self._reads = True
        self._stream.held.join(self.slowest)

    def slowest(self) -> int | None:
        """The least of its places and its cursors; None while it has neither."""
        seqs = [mark.seq for mark in self._marks]
        for name, seq in self._places.items():
            if name.partition("#")[0] == self._stream.name:
                seqs.append(seq)
        return min(seqs, default=None)

    @property
    def behind(self) -> int:
        """How many numbers of the stream it has still to deal with; 0 when it does not read it."""
        seq = self.slowest() if self._reads else None
        return 0 if seq is None else self._stream.seq - seq

    @property
    def behind_max(self) -> int | None:
        """How many records are held for it beyond what is retained; None when it does not read
        it.
        """
        return self._stream.held.limit.count if self._reads else None
