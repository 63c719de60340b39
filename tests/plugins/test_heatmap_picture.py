"""The picture of a past, against what a person would count with a pencil."""

from collections import defaultdict
from decimal import Decimal
from math import floor, log2

import flowd_heatmap.picture
import numpy as np
import pytest
from attrs import frozen
from flowd_heatmap.columns import DENSITIES, codes, pack
from flowd_heatmap.decoder import Decoder
from flowd_heatmap.picture import draw
from flowd_heatmap.records import Column
from flowd_heatmap.shapes import number
from hypothesis import given
from hypothesis import strategies as st

D = Decimal


def column(number: int, bin: str, first: int, long: bytes, short: bytes) -> Column:
    above, below = (pack(np.frombuffer(side, np.uint8)) for side in (long, short))
    price = D(bin) * (first + 3)
    return Column("A", number, D(bin), first, above, below, price, price + 1, price)


@frozen
class Past:
    columns: list[Column]
    sides: list[tuple[bytes, bytes]]


@st.composite
def pasts(pick: st.DrawFn) -> Past:
    columns, sides = [], []
    for time_ms in range(pick(st.integers(1, 12))):
        # Mostly the same bins, as in life; and sides that are as long as each other, or not.
        bin = pick(st.sampled_from(["0.5", "0.5", "0.5", "0.25", "2", "0.3"]))
        first = pick(st.integers(190, 215))
        long, short = pick(st.binary(max_size=25)), pick(st.binary(max_size=25))
        sides.append((long, short))
        columns.append(column(time_ms, bin, first, long, short))
    return Past(columns, sides)


def code(density: float) -> int:
    return min(255, round(log2(density) * 8) + 1) if density >= 1 else 0


@given(pasts(), st.integers(2, 60), st.sampled_from([1, 40, 1 << 20]), st.booleans())
def test_a_cell_is_the_sum_of_the_bins_whose_middles_lie_in_it(
    past: Past, bins: int, cells: int, close_up: bool
) -> None:
    prices = {"low": D("99.9"), "high": D("104.2")} if close_up else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flowd_heatmap.picture, "CELLS", cells)
        picture = draw("A", Decoder().decode(past.columns), bins, **prices)

    assert picture.bins <= bins
    for side, drawn in enumerate((picture.long, picture.short)):
        sums: dict[tuple[int, int], float] = defaultdict(float)
        for place, (one, found) in enumerate(zip(past.columns, past.sides, strict=True)):
            for index, each in enumerate(found[side], one.first):
                middle = (index + D("0.5")) * one.bin
                sums[floor((middle - picture.base) / picture.bin), place] += DENSITIES[each]
        there = drawn.reshape(picture.bins, len(past.columns))
        assert [[code(sums[row, place]) for place in range(len(past.columns))]
                for row in range(picture.bins)] == there.tolist()  # fmt: skip


@given(st.lists(st.floats(0, 1e12) | st.floats(0, 3), max_size=50))
def test_a_code_is_the_nearest_step(densities: list[float]) -> None:
    found = codes(np.array(densities, np.float64))

    assert found.dtype == np.uint8
    assert found.tolist() == [code(density) for density in densities]


def test_each_code_is_read_as_what_it_stands_for() -> None:
    assert codes(DENSITIES).tolist() == list(range(256))


def test_a_row_of_a_million_bins_takes_no_more_memory_than_what_is_there() -> None:
    columns = [column(0, "0.01", 100, bytes([90]) * 400, b"")]

    picture = draw("A", Decoder().decode(columns), 300, D(0), D(10**12))

    assert picture.bin > 10**9
    assert [picture.long[0], picture.long[1:].any()] == [code(400 * DENSITIES[90]), False]


@given(st.decimals(-(10**30), 10**30, allow_nan=False) | st.integers(-(10**30), 10**30).map(D))
def test_a_whole_number_is_told_exactly_and_any_other_as_the_nearest_float(value: Decimal) -> None:
    told = number(value)

    assert told == (int(value) if value == int(value) else float(value))
    assert type(told) is (int if value == int(value) else float)


def test_a_column_that_was_replaced_is_decoded_anew() -> None:
    decoder = Decoder()
    first, second = (column(0, "1", 0, bytes([each]), b"") for each in (3, 4))

    assert decoder.decode([first])[0].long == bytes([3])
    assert decoder.decode([second])[0].long == bytes([4])
    taken = decoder.bytes
    assert decoder.decode([second, column(1, "1", 0, b"", b"")])[0].long == bytes([4])
    assert taken < decoder.bytes < 3 * taken
