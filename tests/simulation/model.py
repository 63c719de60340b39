"""What streams and their readers should be, written again in plain lists and dicts, to hold the
real ones against.
"""

from collections import Counter
from typing import Any

from attrs import define, field


@define(eq=False)
class Log:
    """Everything one stream ever was: what each position of each epoch means, for ever."""

    name: str
    table: bool
    epoch: str = ""
    seq: int = 0
    epochs: list[str] = field(factory=list)
    content: dict[tuple[str, int], Any] = field(factory=dict)
    """(epoch, seq) to the record as clients get it."""
    newest: dict[tuple[str, str], int] = field(factory=dict)
    """(epoch, key) to the seq that supersedes all others of this key."""

    def note(self, record: Any) -> None:
        """The stream holds this record. A position that meant another record before is a lie."""
        place = (self.epoch, record["seq"])
        assert self.content.setdefault(place, record) == record, f"{place} became {record}"
        self.seq = max(self.seq, record["seq"])
        if "key" in record:
            slot = (self.epoch, record["key"])
            self.newest[slot] = max(self.newest.get(slot, 0), record["seq"])

    def begin(self, epoch: str, *, same: bool, seq: int) -> None:
        """The stream lives on after a restart: in the same epoch where all that anybody was shown
        is there, and only there.
        """
        if same:
            assert epoch == self.epoch, f"{self.name}: it should go on, and took a new epoch"
            assert seq == self.seq, f"{self.name}: it goes on at {seq}, but it was at {self.seq}"
        else:
            assert epoch not in self.epochs, f"{self.name}: an epoch came back"
            self.epochs.append(epoch)
        self.epoch, self.seq = epoch, seq

    def told(self, record: Any) -> None:
        """A reader was given this. Of a table it may be what was superseded before anybody looked:
        then it is noted here, and is what it is for all others too.
        """
        slot = (self.epoch, record.get("key", ""))
        if self.table and self.newest.get(slot, 0) > record["seq"]:
            self.note(record)

    def superseded(self, seq: int) -> bool:
        """Whether a table's record may be passed over: its key has a newer one."""
        record = self.content.get((self.epoch, seq))
        return self.table and (record is None or self.newest[self.epoch, record["key"]] > seq)


@define(eq=False)
class Place:
    """One reader's place in one log, and what it may still be told.

    Nothing is lost unannounced: between two positions each seq was received, announced as missing,
    hidden by the reader's own filter, or superseded in a table.
    """

    log: Log
    symbol: str | None = None
    epoch: str | None = None
    seq: int | None = None
    """None: the next records are a snapshot."""
    limited: bool = False
    """Whether a snapshot, if one comes, is of the newest records only."""
    must_reset: bool = False
    seen: int = 0
    missed: int = 0

    def connect(self, *, resume: bool, limited: bool) -> None:
        """The reader comes, with its position or without."""
        self.limited = limited
        self.must_reset = resume and self.epoch != self.log.epoch
        if not resume:
            self.epoch = self.seq = None

    def reset(self) -> None:
        """The stream said that this reader's epoch is gone."""
        assert self.must_reset, f"{self.log.name}: told to reset at {self.epoch}.{self.seq}"
        self.must_reset = False
        self.epoch = self.seq = None

    def gap(self, first: int, last: int) -> None:
        """The stream said that these records are gone."""
        assert not self.must_reset, f"{self.log.name}: an old epoch goes on"
        assert self.seq is not None, f"{self.log.name}: a snapshot suffers no gap"
        assert self.seq < first <= last, f"{self.log.name}: at {self.seq}, a gap {first}-{last}"
        self._passed(self.seq, first - 1)
        self.missed += last - first + 1
        self.seq = last

    def records(self, records: list[Any], epoch: str, seq: int, *, floor: int) -> None:
        """These came, and lead to this position; up to `floor` the stream holds nothing now."""
        log = self.log
        assert not self.must_reset, f"{log.name}: an old epoch goes on"
        assert epoch == log.epoch, f"{log.name}: {epoch} instead of {log.epoch}"
        assert self.epoch in (None, epoch), f"{log.name}: another epoch without a reset"
        if self.seq is None:
            start = records[0]["seq"] - 1 if records and self.limited else floor
            self.seq = min(start, records[0]["seq"] - 1) if records else seq
            if not records and not self.limited:
                self._passed(floor, seq)
        self.epoch = epoch
        for record in records:
            self._passed(self.seq, record["seq"] - 1)
            assert record["seq"] > self.seq, f"{log.name}: {record['seq']} after {self.seq}"
            log.told(record)
            assert record == log.content[epoch, record["seq"]]
            assert self._wanted(record), f"{log.name}: the filter let {record} pass"
            self.seq = record["seq"]
            self.seen += 1
        self._passed(self.seq, seq)
        assert seq >= self.seq, f"{log.name}: position {seq} below {self.seq}"
        self.seq = seq

    def _passed(self, after: int, upto: int) -> None:
        """The reader was led over these without getting them."""
        for seq in range(after + 1, upto + 1):
            record = self.log.content.get((self.log.epoch, seq))
            hidden = record is not None and not self._wanted(record)
            if not hidden and not self.log.superseded(seq):
                raise AssertionError(f"{self.log.name}: {seq} is missing, and nobody said so")

    def _wanted(self, record: Any) -> bool:
        return self.symbol is None or record["value"]["symbol"] == self.symbol

    def level(self) -> bool:
        """Whether nothing that this reader wants is still to come."""
        if self.seq is None or self.epoch != self.log.epoch:
            return False
        return not any(
            self._wanted(record) and not self.log.superseded(seq)
            for seq in range(self.seq + 1, self.log.seq + 1)
            if (record := self.log.content.get((self.log.epoch, seq))) is not None
        )


@define(eq=False)
class Ledger:
    """What one source published, in the history that survived: a crash takes back what was not
    saved.
    """

    numbers: list[int] = field(factory=list)
    """The number of the liquidation at each seq, from seq 1 on."""
    symbols: list[str] = field(factory=list)
    known: set[int] = field(factory=set)
    _totals: Counter[str] = field(factory=Counter)
    _upto: int = 0

    def publish(self, seq: int, number: int, symbol: str) -> None:
        """A liquidation was published; none is published twice."""
        assert seq == len(self.numbers) + 1, f"seq {seq} after {len(self.numbers)}"
        assert number not in self.known, f"liquidation {number} was published twice"
        self.numbers.append(number)
        self.symbols.append(symbol)
        self.known.add(number)

    def crash(self, saved: int) -> None:
        """Only what was saved counts."""
        self.known -= set(self.numbers[saved:])
        del self.numbers[saved:]
        del self.symbols[saved:]
        self._totals, self._upto = Counter(), 0

    def totals(self, upto: int) -> Counter[str]:
        """How many per symbol, among the first so many."""
        if upto < self._upto:
            self._totals, self._upto = Counter(), 0
        self._totals.update(self.symbols[self._upto : upto])
        self._upto = upto
        return self._totals
