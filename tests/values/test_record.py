"""Records, positions and batches: what passes through flowd."""

import json
from decimal import Decimal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from flowd.values.record import Batch, Gap, Position, Record


@frozen
class Trade:
    symbol: str
    price: Decimal


EPOCHS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=16)


@given(EPOCHS, st.integers(0, 10**18 - 1))
def test_a_position_reads_back_as_it_was_written(epoch: str, seq: int) -> None:
    position = Position(epoch, seq)

    assert Position.parse(str(position)) == position


def test_a_position_is_written_epoch_dot_seq() -> None:
    assert str(Position("k3v9", 18231)) == "k3v9.18231"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "k3v9",
        "k3v9.",
        ".12",
        "k3v9.-1",
        "k3v9.1.2",
        "K3V9.1",
        "k3v9.1 ",
        " k3v9.1",
        "k3v9.1\n",
        "k3v9.+1",
        "k3v9.1_000",
        "k3v9.٣",
        "ä.1",
        "a" * 17 + ".1",
        "a." + "1" * 19,
    ],
)
def test_what_is_no_position_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="a position looks like"):
        Position.parse(text)


def test_the_refusal_of_a_long_text_shows_only_its_beginning() -> None:
    with pytest.raises(ValueError, match="a position looks like") as caught:
        Position.parse("x" * 100_000)

    assert len(str(caught.value)) < 200


@given(st.text(max_size=40))
def test_any_text_is_a_position_that_writes_the_same_or_is_refused(text: str) -> None:
    try:
        position = Position.parse(text)
    except ValueError:
        return

    assert position.seq == int(text.rpartition(".")[2])
    assert position.epoch == text.rpartition(".")[0]


def test_a_record_of_a_history_has_seq_time_and_value_in_its_json() -> None:
    record = Record(7, 1_700_000_000_000, Trade("BTCUSDT", Decimal("43000.50")))

    assert record.json == (
        b'{"seq":7,"time_ms":1700000000000,"value":{"symbol":"BTCUSDT","price":"43000.50"}}'
    )


def test_a_record_of_a_table_has_its_key_in_its_json() -> None:
    record = Record(7, 1, Trade("BTCUSDT", Decimal(1)), key='a "quoted" key')

    assert json.loads(record.json)["key"] == 'a "quoted" key'


def test_an_empty_key_is_a_key() -> None:
    assert json.loads(Record(7, 1, Trade("B", Decimal(1)), key="").json)["key"] == ""


def test_the_json_of_a_record_is_made_once() -> None:
    record = Record(7, 1, Trade("BTCUSDT", Decimal(1)))

    assert record.json is record.json


def test_records_are_equal_only_to_themselves() -> None:
    value = Trade("BTCUSDT", Decimal(1))

    assert Record(7, 1, value) != Record(7, 1, value)


def test_a_batch_is_neither_first_nor_reset_nor_has_a_gap_unless_said() -> None:
    batch: Batch[Trade] = Batch("trades", [], Position("e", 0))

    assert (batch.first, batch.reset, batch.gap) == (False, False, None)


def test_gaps_and_positions_are_values() -> None:
    assert Gap(1, 2) == Gap(1, 2)
    assert {Position("e", 1): 1}[Position("e", 1)] == 1
