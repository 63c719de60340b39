"""What clients were told, held against what may be told: one record per number, nothing twice,
nothing lost in silence.

It sees every message of every client as it comes. What it keeps of a record is a fingerprint of its
bytes, and of an order the number that the exchange gave it.
"""

import time
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

from attrs import Factory, define

from tests.crash.ledger import Order, number_of, units
from tests.crash.told import Written

ORDERS, VOLUME, OUTAGES = STREAMS = ("orders", "volume", "outages")
TABLES = (VOLUME, OUTAGES)
PAGE = 1024
SHOWN_MAX = 5
"""So many broken promises of a kind are told in full; the others are counted."""


class Numbers:
    """A long row of whole numbers, 0 where nothing was put; room is taken for what was."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, index: int) -> int:
        page = self._pages.get(index // PAGE)
        return 0 if page is None else page[index % PAGE]

    def __setitem__(self, index: int, number: int) -> None:
        page = self._pages.get(index // PAGE)
        if page is None:
            page = self._pages[index // PAGE] = array("q", bytes(8 * PAGE))
        page[index % PAGE] = number


@define
class Told:
    """What is known of one stream."""

    epoch: str = ""
    """The newest one."""
    may_change: bool = True
    """Whether a life has ended, since that epoch was last seen, in a way that may forget it."""
    seen_in: int = 0
    """The life in which it was last seen."""
    prints: dict[str, Numbers] = Factory(dict)
    """Of each epoch, the fingerprint of each number's record."""


class Referee:
    """Judges all that clients hear. Nothing is raised: a broken promise is counted and noted."""

    def __init__(self, expect_resets: int) -> None:
        self.life = 0
        self.counts: Counter[str] = Counter()
        """What was broken, by kind."""
        self.notes: list[str] = []
        self.heard = 0
        """Records told, to all clients together."""
        self.resets = 0
        self.gaps = 0
        self.gaps_of_orders: dict[tuple[int, int], int] = {}
        """When somebody was first told this gap of orders, by its first and last number."""
        self.forgotten: set[int] = set()
        """Lives that began with new epochs."""
        self.lineage = Numbers()
        """By number in the stream: the order there, as the newest epoch has it."""
        self.recorded = Numbers()
        """By order: the time of its record, 0 when nobody was ever shown it."""
        self.outages: set[tuple[int, int]] = set()
        """Times without data, from and to, that clients were told of."""
        self._shown: Counter[str] = Counter()
        self._expect_resets = expect_resets
        self._told = {name: Told() for name in STREAMS}

    def broken(self, kind: str, what: str, times: int = 1) -> None:
        """A promise was broken."""
        self.counts[kind] += times
        self._shown[kind] += 1
        if self._shown[kind] <= SHOWN_MAX:
            self.notes.append(f"{kind} (life {self.life}): {what}")

    def begins(self, life: int) -> None:
        """Another life of the daemon."""
        self.life = life

    def ended(self, *, clean: bool) -> None:
        """That life is over."""
        if not clean:
            for told in self._told.values():
                told.may_change = True

    def epoch(self, stream: str, epoch: str) -> None:
        """Somebody was told this epoch."""
        told = self._told[stream]
        if epoch == told.epoch and told.seen_in == self.life:
            return
        if epoch != told.epoch and told.epoch:
            if told.seen_in == self.life:
                self.broken("other", f"{stream} has two epochs: {told.epoch} and {epoch}")
            elif not told.may_change:
                self.broken("resets", f"{stream}: {epoch} after {told.epoch} and a clean stop")
            else:
                self.forgotten.add(self.life)
                if len(self.forgotten) > self._expect_resets:
                    self.broken("resets", f"{stream}: {epoch} after {told.epoch}")
        if epoch != told.epoch and epoch in told.prints:
            self.broken("other", f"{stream} goes back to the epoch {epoch}")
        told.epoch, told.seen_in, told.may_change = epoch, self.life, False

    def shown(self, stream: str, epoch: str, record: Written) -> None:
        """Somebody was shown this record."""
        self.heard += 1
        prints = self._told[stream].prints
        numbers = prints.get(epoch)
        if numbers is None:
            numbers = prints[epoch] = Numbers()
        seq = record.found["seq"]
        before = numbers[seq]
        if before == 0:
            numbers[seq] = record.print
            self._first_shown(stream, seq, record.found)
        elif before != record.print:
            self.broken("twice", f"{stream} {epoch}.{seq} was other bytes before: {record.json}")

    def told_at(self, stream: str, epoch: str, seq: int) -> int:
        """The fingerprint of what somebody was told there, 0 when nobody was."""
        numbers = self._told[stream].prints.get(epoch)
        return 0 if numbers is None else numbers[seq]

    def gap(self, stream: str, first: int, last: int) -> None:
        """Somebody was told that these numbers and all between will not come."""
        self.gaps += 1
        if stream == ORDERS:
            self.gaps_of_orders.setdefault((first, last), time.time_ns() // 1_000_000)

    def _first_shown(self, stream: str, seq: int, record: dict[str, Any]) -> None:
        value = record["value"]
        if stream == OUTAGES and value["component"] == ORDERS and value["to_ms"] is not None:
            self.outages.add((value["from_ms"], value["to_ms"]))
        if stream != ORDERS:
            return
        order = Order(number_of(value), value["time_ms"])
        expected = (order.symbol, order.side, order.quantity, order.units)
        found = (value["symbol"], value["side"], value["quantity"], units(value["notional"]))
        if expected != found:
            self.broken("other", f"not what the exchange sent: {record}")
        self.lineage[seq] = order.number
        if not self.recorded[order.number]:
            self.recorded[order.number] = record["time_ms"]

    def orders(self, head: int) -> Iterator[tuple[int, int]]:
        """(number in the stream, order) of all that the stream holds now or has let go of."""
        for seq in range(1, head + 1):
            yield seq, self.lineage[seq]


class View:
    """One client's view of one stream: the one position that it holds, and what it was told.

    Of a history each number must come, or be told as a gap; of a table numbers only rise.
    """

    def __init__(self, referee: Referee, client: str, stream: str) -> None:
        self.stream = stream
        self.rows: dict[str, int] = {}
        """Of a table: the fingerprint of each key's record."""
        self.way = ""
        """By which way it is told, for whoever has to find out."""
        self._referee = referee
        self._who = f"{client} on {stream}"
        self._epoch = ""
        self._seq: int | None = None

    @property
    def after(self) -> str | None:
        """The position to go on from."""
        return None if self._seq is None else f"{self._epoch}.{self._seq}"

    def reset(self, position: str) -> None:
        """Everything comes anew."""
        epoch, _ = split(position)
        self._referee.resets += 1
        self._referee.epoch(self.stream, epoch)
        if epoch == self._epoch:
            self._broken("resets", f"a reset to {position}, though {self.after} is of this epoch")
        self._forget()

    def first(self) -> None:
        """A snapshot begins."""
        if self._seq is not None:
            self._broken("other", f"a snapshot for who holds {self.after}")
        self._forget()

    def gap(self, epoch: str, first: int, last: int, *, wanted: bool = False) -> None:
        """These numbers and all between will not come; `wanted` by who asked for the newest few."""
        self._told(epoch)
        if self._seq is None or first > last:
            self._broken("other", f"a gap {first}-{last} for who holds {self.after}")
        elif first > self._seq + 1:
            self._broken("lost", f"a gap {first}-{last} for who holds {self.after}")
        elif first <= self._seq:
            self._broken("other", f"a gap {first}-{last} of what came, at {self.after}")
        if not wanted:
            self._referee.gap(self.stream, first, last)
        self._seq = last

    def record(self, epoch: str, record: Written) -> None:
        """One record."""
        self._told(epoch)
        seq = record.found["seq"]
        if self._seq is not None:
            if seq <= self._seq:
                self._broken("twice", f"{seq} came to who holds {self.after}")
            elif seq > self._seq + 1 and self.stream not in TABLES:
                self._broken("lost", f"{seq} came to who holds {self.after}, and no gap")
        self._seq = seq
        self._referee.shown(self.stream, epoch, record)
        if self.stream in TABLES:
            self.rows[record.found["key"]] = record.print

    def position(self, position: str) -> None:
        """Where what was told leads to."""
        epoch, seq = split(position)
        self._told(epoch)
        if self._seq is not None:
            if seq < self._seq:
                self._broken("other", f"the position {position} for who holds {self.after}")
            elif seq > self._seq and self.stream not in TABLES:
                self._broken("lost", f"the position {position} for who holds {self.after}")
        self._seq = seq

    def _told(self, epoch: str) -> None:
        self._referee.epoch(self.stream, epoch)
        if self._seq is None:
            self._epoch = epoch
        elif epoch != self._epoch:
            self._broken("other", f"the epoch {epoch} for who holds {self.after}, and no reset")
            self._epoch = epoch

    def _forget(self) -> None:
        self._epoch, self._seq = "", None
        self.rows.clear()

    def _broken(self, kind: str, what: str) -> None:
        self._referee.broken(kind, f"{self._who} by {self.way}: {what}")


def split(position: str) -> tuple[str, int]:
    """Epoch and number of a position."""
    epoch, _, seq = position.rpartition(".")
    return epoch, int(seq)
