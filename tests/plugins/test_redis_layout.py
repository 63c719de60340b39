"""What is in Redis, as words: what one flowd writes another reads, and nothing else is believed."""

import pytest
from flowd_redis.layout import (
    Carried,
    Forgotten,
    Keys,
    Malformed,
    Meta,
    Missing,
    decode,
    record_fields,
)

from flowd.plugin import Gap, Record


def wire(fields: dict[str, bytes | str]) -> dict[bytes, bytes]:
    """Fields as Redis gives them back."""
    return {
        name.encode(): text.encode() if isinstance(text, str) else text
        for name, text in fields.items()
    }


def test_all_keys_of_a_stream_are_in_one_slot() -> None:
    keys = Keys("desk")

    assert keys.streams == "desk:streams"
    assert keys.meta("force-orders") == "desk:{force-orders}"
    assert keys.entries("force-orders", "k3v9") == "desk:{force-orders}:k3v9"
    assert keys.table("force-orders", "k3v9") == "desk:{force-orders}:k3v9:table"


def test_a_record_is_read_as_it_was_written() -> None:
    record: Record[object] = Record(7, 1000, "late", "ключ")

    assert decode(b"7-0", wire(record_fields(record, "k3v9", 6))) == Carried(7, record.json, 6)
    assert decode(b"7-0", wire(record_fields(record, "k3v9", 2))) == Carried(7, record.json, 2)


def test_after_is_written_only_where_numbers_were_left_out() -> None:
    record: Record[object] = Record(7, 1000, "late")

    assert list(record_fields(record, "k3v9", 6)) == ["json", "epoch", "seq"]
    assert record_fields(record, "k3v9", 4)["after"] == "4"


def test_what_was_forgotten_and_what_is_missing_is_told() -> None:
    assert decode(b"7-2", {b"forget": "ключ".encode()}) == Forgotten(7, "ключ")
    assert decode(b"9-1", {b"gap": b"4-9"}) == Missing(Gap(4, 9))
    assert Missing(Gap(4, 9)).seq == 9


@pytest.mark.parametrize(
    ("id", "fields"),
    [
        (b"7", {b"json": b"{}"}),
        (b"-1-0", {b"json": b"{}"}),
        (b"7-1", {b"json": b"{}"}),
        (b"7-0", {b"json": b"{}", b"after": b"7"}),
        (b"7-0", {b"json": b"{}", b"after": b"-2"}),
        (b"7-0", {b"json": b"{}", b"after": b"soon"}),
        (b"7-1", {b"forget": b"\xff"}),
        (b"9-1", {b"gap": b"4-8"}),
        (b"9-1", {b"gap": b"10-9"}),
        (b"9-1", {b"gap": b"all"}),
        (b"7-0", {b"message": b"hello"}),
        (b"7-0", {}),
    ],
)
def test_what_flowd_never_wrote_is_refused(id: bytes, fields: dict[bytes, bytes]) -> None:
    with pytest.raises(Malformed):
        decode(id, fields)


@pytest.mark.parametrize(
    "meta",
    [
        Meta("k3v9", "Liquidation", 5000),
        Meta(
            "k3v9",
            "Candle",
            100,
            age_ms=60_000,
            protected=True,
            table=True,
            seq=8,
            time_ms=99,
            kind="candles",
        ),
    ],
)
def test_what_a_stream_is_is_read_as_it_was_written(meta: Meta) -> None:
    assert Meta.decode(wire(dict(meta.encode()))) == meta
    assert str(meta.position) == f"k3v9.{meta.seq}"


def test_where_no_hash_is_there_is_no_stream() -> None:
    assert Meta.decode({}) is None


def test_fields_of_a_later_flowd_do_no_harm() -> None:
    meta = Meta("k3v9", "Liquidation", 5000)

    assert Meta.decode({**wire(dict(meta.encode())), b"mood": b"good"}) == meta


@pytest.mark.parametrize(("name", "text"), [("seq", "many"), ("retain", ""), ("epoch", "é")])
def test_a_hash_that_is_not_flowds_is_refused(name: str, text: str) -> None:
    fields = wire({**Meta("k3v9", "Liquidation", 5000).encode(), name: text})

    with pytest.raises(Malformed, match="hash"):
        Meta.decode(fields)


def test_a_hash_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(Malformed, match="record"):
        Meta.decode({b"epoch": b"k3v9", b"age_ms": b""})
