"""Bytes prepared once for all who ask the same."""

from flowd.channel.prepared import ENTRY_BYTES, Prepared

SIZE = 1024


def full(entries: int) -> Prepared[int]:
    """A cache with room for so many entries of `SIZE` bytes, which it has."""
    prepared = Prepared[int](entries * (SIZE + ENTRY_BYTES))
    for number in range(entries):
        prepared.keep(number, number, SIZE)
    return prepared


def test_what_was_kept_is_there() -> None:
    prepared = full(3)

    assert [prepared.get(number) for number in range(4)] == [0, 1, 2, None]


def test_old_entries_make_room_for_new_ones() -> None:
    prepared = full(10)

    prepared.keep("new", 99, 2 * SIZE + ENTRY_BYTES)

    assert prepared.bytes <= prepared.most_bytes
    assert [prepared.get(key) for key in (0, 1, 2, "new")] == [None, None, 2, 99]


def test_the_entry_that_was_used_last_is_kept_longest() -> None:
    prepared = full(10)

    prepared.get(0)
    prepared.keep("new", 99, SIZE)

    assert prepared.get(0) == 0
    assert prepared.get(1) is None


def test_entries_without_a_byte_do_not_pile_up_for_ever() -> None:
    prepared = Prepared[int](100 * ENTRY_BYTES)

    for number in range(1000):
        prepared.keep(number, number, 0)

    assert len(prepared) == 100


def test_a_new_value_takes_the_place_and_the_bytes_of_the_old_one() -> None:
    prepared = full(1)

    prepared.keep(0, 7, SIZE // 2)

    assert prepared.get(0) == 7
    assert prepared.bytes == SIZE // 2 + ENTRY_BYTES


def test_what_fits_nowhere_is_not_kept_and_drives_nobody_out() -> None:
    prepared = full(3)

    prepared.keep("huge", 99, 100 * SIZE)

    assert prepared.get("huge") is None
    assert len(prepared) == 3


def test_what_is_dropped_gives_its_bytes_back() -> None:
    prepared = full(2)

    prepared.drop(0)
    prepared.drop("never there")

    assert prepared.get(0) is None
    assert prepared.bytes == SIZE + ENTRY_BYTES
