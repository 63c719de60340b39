"""What is checked once, at the end: the ledger against what was shown, buckets and history against
the stream.
"""

import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define

from tests.crash import ledger
from tests.crash.ledger import Batch, Order, units
from tests.crash.referee import ORDERS, Numbers, Referee
from tests.crash.told import written

WIDTHS_MS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
"""The timeframes that are asked for, and how wide their buckets are."""


@define
class Sum:
    """What a bucket must hold, in the ledger's units."""

    buy: int = 0
    sell: int = 0
    count: int = 0


class Audit:
    """The ledger and the last word of a daemon that has been stopped in order."""

    def __init__(self, referee: Referee, ledger_file: Path, head: int) -> None:
        self.sent = 0
        self.unseen = 0
        """Orders that nobody was shown, and that are in no history."""
        self._referee = referee
        self._ledger = ledger_file
        self._head = head
        self._times = Numbers()
        """When each order happened, by the exchange."""
        for batch in ledger.read(ledger_file):
            self.sent = batch.last
            for number in batch.numbers:
                self._times[number] = batch.time_ms

    def history(self, file: Path) -> None:
        """Each order that was shown is in the file, once, as it was shown; or a gap is."""
        referee = self._referee
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        times: Counter[tuple[str, int]] = Counter()
        rows_of: Counter[int] = Counter()
        last_at: dict[int, int] = {}
        for epoch, seq, text in db.execute(f'SELECT epoch, seq, json FROM "{ORDERS}" ORDER BY row'):
            record = written(text)
            number = ledger.number_of(record.found["value"])
            times[epoch, seq] += 1
            rows_of[number] += 1
            last_at[seq] = number
            told = referee.told_at(ORDERS, epoch, seq)
            if told and told != record.print:
                self._history(f"{epoch}.{seq} is not what clients were told: {text}")
        gaps = db.execute(
            'SELECT epoch, first, last, from_ms, to_ms, reason FROM "flowd:gaps" WHERE stream = ?',
            [ORDERS],
        ).fetchall()
        db.close()
        for place in [place for place, count in times.items() if count > 1]:
            self._history(f"{place} is there {times[place]} times")
        for number in [number for number, count in rows_of.items() if count > 1]:
            self._history(f"order {number} is there {rows_of[number]} times")
        if not referee.forgotten:
            for gap in gaps:
                self._history(f"a gap, though no epoch changed: {gap}")
        for number in range(1, self.sent + 1):
            at_ms = referee.recorded[number]
            if at_ms and number not in rows_of and not _in_gap(gaps, at_ms):
                self._history(f"order {number}, recorded at {at_ms}, is missing; gaps: {gaps}")
            elif number in rows_of and not at_ms:
                # No client came by in time, but whoever asks the history is shown it.
                referee.recorded[number] = 1
        for seq in range(1, self._head + 1):
            if not referee.lineage[seq] and seq in last_at:
                referee.lineage[seq] = last_at[seq]

    def in_gaps(self) -> None:
        """What lies in a gap that was told is not lost, though nobody was shown it. Which orders
        these are follows from those on either side; where there may be more of them than numbers,
        those of which no outage tells come first.
        """
        referee, lineage = self._referee, self._referee.lineage
        told = Spans(set(referee.gaps_of_orders))
        outages = Spans(referee.outages)
        seq = 1
        while seq <= self._head:
            if lineage[seq]:
                seq += 1
                continue
            before = seq - 1
            while seq <= self._head and not lineage[seq]:
                seq += 1
            places = [at for at in range(before + 1, seq) if at in told]
            end = lineage[seq] if seq <= self._head else self.sent + 1
            may_be = [n for n in range(lineage[before] + 1, end) if not referee.recorded[n]]
            may_be.sort(key=lambda number: self._times[number] in outages)
            there = sorted(may_be[: len(places)])
            self.unseen += len(there)
            for at, number in zip(places, there, strict=False):
                lineage[at] = number
                referee.recorded[number] = 1

    def stream(self) -> None:
        """The stream held each order once, and no number without one."""
        seen = Numbers()
        for seq, number in self._referee.orders(self._head):
            if not number:
                self._referee.broken("lost", f"nobody was ever shown number {seq} of {ORDERS}")
            elif not self._times[number]:
                self._referee.broken("other", f"number {seq} is no order that was sent: {number}")
            elif seen[number]:
                self._referee.broken(
                    "twice", f"order {number} has the numbers {seen[number]} and {seq}"
                )
            seen[number] = seq

    def gaps(self, retain: int) -> None:
        """Nobody was told a gap of what was to be retained: so many newer orders had been sent."""
        lineage = self._referee.lineage
        for (_, last), told_ms in self._referee.gaps_of_orders.items():
            newest = lineage[last + retain]
            if not newest or self._times[newest] > told_ms:
                self._referee.broken(
                    "other", f"a gap up to {last}, told at {told_ms}, of what is retained"
                )

    def buckets(self, records: list[dict[str, Any]]) -> None:
        """Each bucket is the sum over the stream, and there is no other."""
        expected: defaultdict[tuple[str, str, int], Sum] = defaultdict(Sum)
        for _, number in self._referee.orders(self._head):
            if not number:
                continue
            order = Order(number, self._times[number])
            for timeframe, width_ms in WIDTHS_MS.items():
                start_ms = order.time_ms // width_ms * width_ms
                bucket = expected[order.symbol, timeframe, start_ms]
                bucket.count += 1
                if order.side == "BUY":
                    bucket.buy += order.units
                else:
                    bucket.sell += order.units
        found = {_place(record["value"]): _sum(record["value"]) for record in records}
        for place in sorted(expected.keys() | found.keys(), key=lambda place: (place[2], place)):
            wanted, got = expected.get(place), found.get(place)
            if wanted != got:
                self._referee.broken("buckets", f"{place}: {got} instead of {wanted}")

    def outages(self, scene: Callable[[int], str]) -> None:
        """What nobody was shown happened in a time that clients were told of. `scene` says what
        the daemon was at.
        """
        referee = self._referee
        told = Spans(referee.outages)
        lost: list[Batch] = []
        for batch in [*ledger.read(self._ledger), None]:
            if batch is not None:
                unseen = sum(not referee.recorded[number] for number in batch.numbers)
                self.unseen += unseen
                if unseen and batch.time_ms not in told:
                    lost.append(batch)
                    continue
            if lost:
                numbers = [n for one in lost for n in one.numbers if not referee.recorded[n]]
                first, last = lost[0], lost[-1]
                referee.broken(
                    "lost",
                    f"{len(numbers)} orders, {numbers[0]} to {numbers[-1]}, which happened from "
                    f"{first.time_ms} (sent on {first.connections}) to {last.time_ms}; outages "
                    f"around them: {told.around(first.time_ms)}; {scene(first.time_ms)}",
                    len(numbers),
                )
                lost.clear()

    def _history(self, what: str) -> None:
        self._referee.broken("history", what)


class Spans:
    """Times or numbers from one to another, made ascending and apart from each other."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans: list[tuple[int, int]] = []
        for first, last in sorted(spans):
            if self._spans and first <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], max(last, self._spans[-1][1]))
            else:
                self._spans.append((first, last))
        self._starts = [first for first, _ in self._spans]

    def __contains__(self, one: int) -> bool:
        at = bisect_right(self._starts, one) - 1
        return at >= 0 and one <= self._spans[at][1]

    def around(self, one: int) -> list[tuple[int, int]]:
        """The last one that began before, and the next."""
        return self._spans[max(0, bisect_right(self._starts, one) - 1) :][:2]


def _in_gap(gaps: list[Any], at_ms: int) -> bool:
    return any(
        (since_ms is None or since_ms <= at_ms) and (until_ms is None or at_ms <= until_ms)
        for _, _, _, since_ms, until_ms, _ in gaps
    )


def _place(value: Mapping[str, Any]) -> tuple[str, str, int]:
    return value["symbol"], value["timeframe"], value["time_ms"]


def _sum(value: Mapping[str, Any]) -> Sum:
    return Sum(units(value["buy"]), units(value["sell"]), value["count"])
