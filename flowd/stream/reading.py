"""How far one component has dealt with one stream, and so what must be held for it."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from attrs import define

from flowd.stream.log import Stream


@define(eq=False)
class Mark:
    """How far one cursor has dealt with its records. It counts as long as its cursor is there."""

    seq: int
    place: str


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
        self._reads = False
        if reads:
            self.hold()

    def name(self, place: str) -> str:
        """What one of its places is called among all of the component."""
        return f"{self._stream.name}#{place}" if place else self._stream.name

    def place(self, name: str) -> int | None:
        """Where to go on; a place that is new begins where the component's own was."""
        return self._places.get(name, self._places.get(self._stream.name))

    def add(self, mark: Mark) -> None:
        """This cursor counts, too."""
        self._marks.add(mark)
        self.hold()

    def begin(self) -> None:
        """A new life of the component begins: cursors of an earlier one do not count any more."""
        self._marks.clear()

    def read(self, mark: Mark, seq: int) -> None:
        """A cursor has dealt with all up to here."""
        mark.seq = seq
        if mark not in self._marks:
            self.add(mark)
        if len(self._marks) > 1:
            seq = min([one.seq for one in self._marks if one.place == mark.place])
        if seq > self._places.get(mark.place, -1):
            self._places[mark.place] = seq
            self._on_move(mark.place, seq)

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
