"""The audit of what clients were told, by itself: what it takes for lost, and what not."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.audit import WIDTHS_MS, Audit
from tests.crash.ledger import Batch, Order
from tests.crash.referee import ORDERS, Referee, View
from tests.crash.told import Written, written

T = 1_700_000_000_000
RETAIN = 3
SENT = 10


def order(number: int) -> Order:
    return Order(number, T + number)


def record(seq: int, number: int) -> Written:
    """The nth record of the stream, of this order."""
    of = order(number)
    value = {
        "symbol": of.symbol,
        "side": of.side,
        "price": of.price,
        "quantity": of.quantity,
        "notional": amount(of.units),
        "time_ms": of.time_ms,
    }
    return written(json.dumps({"seq": seq, "time_ms": of.time_ms + 1, "value": value}))


def amount(units: int) -> str:
    """As a decimal number."""
    return f"{units * 5 // 10_000}.{units * 5 % 10_000:04d}"


class Heard:
    """All that clients were told, and what the exchange sent, an order each millisecond."""

    def __init__(self, folder: Path, sent: int = SENT) -> None:
        self.referee = Referee(expect_resets=0)
        self.referee.begins(1)
        self.ledger = folder / "ledger"
        batches = [Batch(number, number, T + number, (1,)) for number in range(1, sent + 1)]
        self.ledger.write_text("".join(batch.line for batch in batches))

    def client(self) -> View:
        return View(self.referee, "a client", ORDERS)

    def audited(self, *there: int) -> Audit:
        """The audit, of a stream that held these orders."""
        audit = Audit(self.referee, self.ledger, len(there))
        audit.in_gaps()
        audit.stream()
        audit.gaps(RETAIN)
        audit.buckets(buckets(*there))
        audit.outages(lambda time_ms: "nothing happened")
        return audit

    @property
    def broken(self) -> Counter[str]:
        return self.referee.counts


def buckets(*numbers: int) -> list[dict[str, object]]:
    """What is derived of these orders."""
    sums: dict[tuple[str, str, int], dict[str, int]] = {}
    for of in map(order, numbers):
        for timeframe, width_ms in WIDTHS_MS.items():
            place = of.symbol, timeframe, of.time_ms // width_ms * width_ms
            found = sums.setdefault(place, {"BUY": 0, "SELL": 0, "count": 0})
            found[of.side] += of.units
            found["count"] += 1
    return [
        {
            "value": {
                **dict(zip(("symbol", "timeframe", "time_ms"), place, strict=True)),
                "buy": amount(found["BUY"]),
                "sell": amount(found["SELL"]),
                "count": found["count"],
            }
        }
        for place, found in sums.items()
    ]


def show(client: View, first: int, last: int, ahead: int = 0) -> None:
    """Records of these numbers, of orders that are so far ahead of them."""
    for seq in range(first, last + 1):
        client.record("e", record(seq, seq + ahead))


def test_what_everybody_was_shown_is_well(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    show(heard.client(), 1, SENT)

    audit = heard.audited(*range(1, SENT + 1))

    assert not heard.broken, heard.referee.notes
    assert (audit.sent, audit.unseen) == (SENT, 0)


@pytest.fixture
def gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps are told when all was sent."""
    monkeypatch.setattr("time.time_ns", lambda: (T + 1000) * 1_000_000)


@pytest.mark.usefixtures("gap")
def test_what_lies_in_a_told_gap_and_was_shown_to_nobody_is_not_lost(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    for first in (4, 5):
        client = heard.client()
        show(client, 1, first - 1)
        client.gap("e", first, 6)
        show(client, 7, SENT)
    # The one that was shown more: of the others' gap, only what it lacks too was shown to nobody.
    audit = heard.audited(*range(1, SENT + 1))

    assert not heard.broken, heard.referee.notes
    assert audit.unseen == 2


@pytest.mark.usefixtures("gap")
def test_a_told_gap_excuses_no_more_orders_than_it_has_numbers(tmp_path: Path) -> None:
    heard = Heard(tmp_path, SENT + 1)
    client = heard.client()
    show(client, 1, 3)
    client.gap("e", 4, 6)
    show(client, 7, SENT, ahead=1)

    heard.audited(*range(1, 7), *range(8, SENT + 2))

    assert heard.broken == {"lost": 1}, heard.referee.notes
    assert "1 orders, 7 to 7" in heard.referee.notes[0]


@pytest.mark.usefixtures("gap")
def test_a_told_gap_excuses_no_order_from_elsewhere(tmp_path: Path) -> None:
    heard = Heard(tmp_path, SENT + 1)
    client = heard.client()
    show(client, 1, 2)
    client.gap("e", 3, 4)
    show(client, 5, 7)
    show(client, 8, SENT, ahead=1)

    heard.audited(*range(1, 8), *range(9, SENT + 2))

    assert heard.broken == {"lost": 1}, heard.referee.notes
    assert "1 orders, 8 to 8" in heard.referee.notes[0]


@pytest.mark.usefixtures("gap")
def test_a_told_gap_in_which_no_order_can_be_is_a_lost_number(tmp_path: Path) -> None:
    heard = Heard(tmp_path, SENT - 1)
    client = heard.client()
    show(client, 1, 3)
    client.gap("e", 4, 4)
    show(client, 5, SENT, ahead=-1)

    heard.audited(1, 2, 3, *range(4, SENT + 1))

    assert heard.broken["lost"] == 1, heard.referee.notes


def test_what_nobody_was_shown_nor_told_is_lost(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    show(heard.client(), 1, 3)
    show(heard.client(), 7, SENT)

    heard.audited(*range(1, SENT + 1))

    assert heard.broken["lost"] == 3 + 3, "its numbers, and its orders"


def test_who_asked_for_the_newest_few_was_told_no_gap(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    client = heard.client()
    show(client, 1, 3)
    client.gap("e", 4, 6, wanted=True)
    show(client, 7, SENT)

    heard.audited(*range(1, SENT + 1))

    assert heard.broken["lost"] == 3 + 3


def test_a_gap_of_what_is_retained_is_told_of_as_before(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    client = heard.client()
    show(client, 1, 7)
    client.gap("e", 8, 9)
    show(client, SENT, SENT)

    heard.audited(*range(1, SENT + 1))

    assert heard.broken == {"other": 1}
    assert "of what is retained" in heard.referee.notes[0]
