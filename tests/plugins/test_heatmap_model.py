"""The model of the heatmap: the domain page's worked example, and what is at its edges."""

from collections import Counter
from decimal import Decimal
from random import Random

import pytest
from flowd_heatmap.brackets import Side, brackets_of, liquidation_price, read, tables
from flowd_heatmap.leverage import parse
from flowd_heatmap.model import Model

from tests.plugins.heatmap_kit import OI, A, B, C, candle, flat, interest, levels, model

D = Decimal
CENT = D("0.01")


def price(side: Side, leverage: int, entry: str, quantity: str = "1") -> Decimal:
    found = liquidation_price(flat(), side, leverage, D(entry), D(quantity))
    assert found is not None
    return found.quantize(CENT)


def exact(side: Side, leverage: int, quantity: str) -> Decimal:
    found = liquidation_price(brackets_of("BTCUSDT"), side, leverage, D(100_000), D(quantity))
    assert found is not None
    return found.quantize(CENT)


# -- liquidation prices --


@pytest.mark.parametrize(
    ("leverage", "long", "short"),
    [
        (5, "80321.29", "119521.91"),
        (10, "90361.45", "109561.75"),
        (25, "96385.54", "103585.66"),
        (50, "98393.57", "101593.63"),
        (100, "99397.59", "100597.61"),
    ],
)
def test_liquidation_prices_are_those_checked_by_hand(leverage, long, short):
    assert price("LONG", leverage, "100000") == D(long)
    assert price("SHORT", leverage, "100000") == D(short)


def test_a_larger_position_keeps_more_margin_less_its_brackets_amount():
    assert exact("LONG", 10, "2") == D("90427.14")
    assert exact("SHORT", 10, "2") == D("109477.61")


def test_the_bracket_is_that_of_the_notional_at_the_liquidation_price():
    assert exact("LONG", 10, "0.55") == D("90361.45")


def test_a_position_without_borrowed_money_has_no_long_liquidation_price():
    assert liquidation_price(flat(), "LONG", 1, D(100), D(1)) is None


def test_every_shipped_table_is_continuous_and_the_last_amounts_are_those_of_the_page():
    known = tables()

    assert known["BTCUSDT"].dated == "2024-10-24"
    assert [row.amount for row in known["BTCUSDT"].rows][-3:] == [41481450, 121481450, 421481450]
    assert known["SOLUSDT"].leverage_max == 100
    assert known["ETHUSDT"].rows == known["BTCUSDT"].rows[:4]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ('[[125, "50000", "0.004", "0"], [100, "600000", "0.005", "51"]]', "row 2: the amount"),
        ('[[125, "50000", "0.004", "0"], [126, "600000", "0.005", "50"]]', "more leverage"),
        ('[[125, "50000", "0.004", "0"], [100, "50000", "0.005", "50"]]', "rising caps"),
        ('[[125, "a lot", "0.004", "0"]]', "expected [leverage, cap, rate, amount]"),
        ("[]", "expected a list"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused_by_its_row(rows, wrong):
    with pytest.raises(ValueError, match="X") as refused:
        read(f'dated = "today"\n[X]\nrows = {rows}')

    assert wrong in str(refused.value)


def test_a_symbol_that_nobody_told_of_has_assumed_brackets():
    assert brackets_of("PEPEUSDT").assumed
    assert not brackets_of("BTCUSDT").assumed


# -- leverage --


def test_weights_that_sum_up_to_90_are_shares_of_it():
    tiers = parse("10:30, 50:60")

    assert [tier.leverage for tier in tiers] == [10, 50]
    assert sum(tier.weight for tier in tiers) == 1
    assert tiers[0].weight == D(30) / D(90) or tiers[0].weight.quantize(D("1e-9")) == D(
        "0.333333333"
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("5:0,10:0", "all weights are 0"),
        ("5:15,5:10", "twice"),
        ("0:10", "1 or more"),
        ("5", "leverage:weight"),
        ("5:-1", "leverage:weight"),
        ("5:nan", "leverage:weight"),
        ("", "leverage:weight"),
    ],
)
def test_a_wrong_mix_of_leverage_is_named(text, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse(text)


# -- the worked example --


def test_with_both_sides_the_example_has_the_pages_levels():
    one = model("both")

    one.step(A, interest(OI[0], OI[1]))
    assert (one.created, one.consumed) == (10, 0)
    assert levels(one, "long") == {
        80300: 150_000, 90300: 300_000, 96300: 250_000, 98300: 200_000, 99300: 100_000,
    }  # fmt: skip
    assert levels(one, "short") == {
        100500: 100_000, 101500: 200_000, 103500: 250_000, 109500: 300_000, 119500: 150_000,
    }  # fmt: skip

    one.step(B, interest(OI[1], OI[2]))
    assert (one.created, one.consumed) == (10, 2)
    assert levels(one, "long") == {80300: 150_000, 90300: 300_000, 96300: 250_000}
    assert levels(one, "short") == {
        100500: 80_000, 101500: 160_000, 103500: 200_000, 109500: 240_000, 119500: 120_000,
    }  # fmt: skip
    assert (one.long.quantity, one.short.quantity) == (7, 8)

    one.step(C, interest(OI[2], OI[3]))
    assert (one.created, one.consumed) == (20, 2)
    assert sum(levels(one, "long").values()) == 1_192_500
    assert sum(levels(one, "short").values()) == 1_292_500
    assert len(levels(one, "long").keys() | levels(one, "short").keys()) == 18
    assert levels(one, "long")[79100] == 73_875
    assert levels(one, "short")[117700] == 73_875


def test_by_the_candles_colour_the_example_has_the_pages_levels():
    one = model("candle")

    for number, each in enumerate((A, B, C)):
        one.step(each, interest(OI[number], OI[number + 1]))

    assert levels(one, "long") == {80300: 150_000, 90300: 300_000, 96300: 250_000}
    assert levels(one, "short") == {
        99000: 49_250, 100000: 98_500, 102000: 123_125, 107900: 147_750, 117700: 73_875,
    }  # fmt: skip
    assert (one.created, one.consumed) == (10, 2)


def test_by_the_takers_share_both_sides_together_are_what_was_opened():
    one = model("taker")

    one.step(candle(0, "1", "1", "1", "100", bought="0.7"), interest("10", "20"))

    assert (one.long.quantity, one.short.quantity) == (7, 3)


def test_without_volume_half_of_what_was_opened_is_long():
    one = model("taker")

    one.step(candle(0, "1", "1", "1", "100", bought="0", volume="0"), interest("10", "20"))

    assert (one.long.quantity, one.short.quantity) == (5, 5)


# -- edges --


def one_level(side_model="both"):
    """10 units, opened with 10x at 100 and no maintenance: longs at 90, shorts at 110."""
    one = model(side_model, leverage="10:1", rate="0", bin="1")
    one.step(candle(0, "100", "100", "100", "100"), interest("100", "110"))
    return one


def test_a_price_that_is_touched_is_consumed():
    one = one_level()

    one.step(candle(1, "100", "100", "90", "95"), interest("110", "110"))

    assert (one.long.quantity, one.short.quantity, one.consumed) == (0, 10, 1)


def test_a_price_that_is_missed_by_a_cent_is_not():
    one = one_level()

    one.step(candle(1, "100", "109.99", "90.01", "95"), interest("110", "110"))

    assert one.consumed == 0


def test_a_gap_through_a_level_consumes_it_once():
    one = one_level()

    one.step(candle(1, "80", "81", "79", "80"), interest("110", "110"))
    one.step(candle(2, "90", "95", "85", "90"), interest("110", "110"))

    assert one.consumed == 1


def test_what_a_candle_opened_is_not_tested_against_its_own_prices():
    one = model(leverage="10:1", rate="0")

    one.step(candle(0, "100", "200", "1", "100"), interest("100", "110"))

    assert (one.consumed, one.long.count, one.short.count) == (0, 1, 1)


def test_open_interest_that_does_not_change_opens_and_closes_nothing():
    one = one_level()

    one.step(candle(1, "100", "100", "100", "100"), interest("110", "110"))

    assert (one.created, one.long.quantity) == (2, 10)


def test_a_fall_by_more_than_everything_leaves_nothing_and_no_debt():
    one = one_level()

    one.step(candle(1, "100", "100", "100", "100"), interest("110", "1"))
    one.step(candle(2, "100", "100", "100", "100"), interest("1", "3"))

    assert (one.long.quantity, one.short.quantity) == (2, 2)


def test_a_fall_that_liquidations_explain_removes_nothing_more():
    one = one_level()

    one.step(candle(1, "100", "100", "90", "95"), interest("110", "102"))

    assert (one.long.quantity, one.short.quantity) == (0, 2)


def test_in_one_pool_the_liquidations_of_both_sides_count():
    one = model("taker", leverage="10:1", rate="0", bin="1")
    one.step(candle(0, "100", "100", "100", "100", bought="0.5"), interest("100", "110"))

    one.step(candle(1, "100", "100", "90", "95"), interest("110", "103"))

    assert (one.long.quantity, one.short.quantity) == (0, 3)


def test_a_doji_is_long_by_its_colour():
    one = model("candle")

    one.step(candle(0, "100", "100", "100", "100"), interest("1", "2"))

    assert (one.long.quantity, one.short.quantity) == (1, 0)


def test_unknown_open_interest_opens_and_closes_nothing_and_says_so():
    one = one_level()

    one.step(candle(1, "100", "100", "100", "100"), interest("110", None))

    assert one.oi_missing
    assert (one.long.quantity, one.created) == (10, 2)


def test_after_a_hole_a_side_is_scaled_down_to_what_there_is():
    one = one_level()
    one.step(candle(1, "100", "100", "100", "100"), interest("110", None))

    one.step(candle(2, "100", "100", "100", "100"), interest(None, "4"))
    one.step(candle(3, "100", "100", "100", "100"), interest("4", "5"))

    assert not one.oi_missing
    assert (one.long.quantity, one.short.quantity) == (5, 5)


def test_candles_before_the_first_known_open_interest_are_skipped():
    one = model()

    skipped = one.step(candle(0, "1", "1", "1", "1"), interest(None, "100"))
    one.step(candle(1, "1", "1", "1", "1"), interest("100", "110"))

    assert not skipped
    assert one.history_from_ms == candle(1, "1", "1", "1", "1").time_ms


def test_a_candle_that_was_applied_changes_nothing_and_an_older_one_is_counted():
    one = one_level()
    one.step(candle(1, "100", "100", "100", "100"), interest("110", "112"))

    again = one.step(candle(1, "100", "100", "90", "100"), interest("110", "120"))
    older = one.step(candle(0, "100", "100", "90", "100"), interest("110", "120"))

    assert (again, older, one.late) == (False, False, 1)
    assert (one.long.quantity, one.consumed) == (12, 0)


def test_a_liquidation_price_on_an_edge_belongs_to_the_bin_that_begins_there():
    one = model(leverage="10:1", rate="0", bin="10")

    one.step(candle(0, "100", "100", "100", "100"), interest("0", "1"))

    assert levels(one, "long") == {90: 100}
    assert levels(one, "short") == {110: 100}


def test_a_price_that_only_a_rounded_quotient_keeps_from_an_edge_lies_on_it():
    """1.541 times 1.02 / 1.005 is 1.564, but for the fortieth digit of the quotient."""
    one = model(leverage="50:1", rate="0.005", bin="0.001")

    one.step(candle(0, "1.541", "1.541", "1.541", "1.541"), interest("0", "1000"))
    bins = set(one.short.levels())
    one.step(candle(1, "1.541", "1.564", "1.541", "1.541"), interest("1000", "1000"))

    assert bins == {1564}
    assert (one.consumed, one.short.count, one.long.count) == (1, 0, 1)


def test_cohorts_worth_less_than_one_are_let_go():
    one = one_level()

    one.step(candle(1, "100", "100", "100", "100"), interest("110", "100.005"))

    assert (one.long.count, one.short.count, one.long.quantity) == (0, 0, 0)
    assert one.consumed == 0


def test_what_is_consumed_within_a_candle_is_not_taken_again_by_its_step():
    one = one_level()

    taken = one.touch(D("89"), D("100"))
    again = one.touch(D("88"), D("100"))
    one.step(candle(1, "100", "100", "88", "95"), interest("110", "102"))

    assert (taken, again, one.consumed) == (1, 0, 1)
    assert (one.long.quantity, one.short.quantity) == (0, 2)


def test_with_a_half_life_half_of_it_is_gone_after_it():
    from attrs import evolve

    one = one_level()
    one.assumptions = evolve(one.assumptions, half_life_ms=300_000)

    one.step(candle(1, "100", "100", "100", "100"), interest("110", "110"))

    assert one.long.quantity == 5


def test_other_bins_are_made_of_the_same_cohorts():
    fine, coarse = model(bin="50"), model(bin="100")
    for number, one in enumerate((A, B, C)):
        for each in (fine, coarse):
            each.step(one, interest(*OI[number : number + 2]))

    assert (fine.created, fine.consumed) == (coarse.created, coarse.consumed) == (20, 2)
    for side in ("long", "short"):
        summed: Counter[int] = Counter()
        for price, amount in levels(fine, side).items():
            summed[price // 100 * 100] += amount
        assert summed == levels(coarse, side)


@pytest.mark.parametrize("seed", range(20))
def test_a_side_never_holds_more_than_the_open_interest(seed):
    """The invariant of section 3.4, along random prices and open interest."""
    chance = Random(seed)
    one, price, open_interest = model(), 100.0, 1000.0
    for number in range(300):
        moved = price * (1 + chance.gauss(0, 0.01))
        high, low = max(price, moved) * 1.003, min(price, moved) * 0.997
        after = max(0.0, open_interest + chance.gauss(0, 50))
        texts = [f"{each:.2f}" for each in (price, high, low, moved)]
        step = candle(number, *texts)
        before_text, after_text = f"{open_interest:.3f}", f"{after:.3f}"
        if number == 0:
            before_text = "0"
        one.step(step, interest(before_text, after_text))
        price, open_interest = float(texts[3]), float(after_text)

        for book in (one.long, one.short):
            assert book.quantity <= D(after_text) + D("1e-20")
            _check(one)


def _check(one: Model) -> None:
    """Sums and bins are those of the cohorts."""
    for book in (one.long, one.short):
        cohorts = [each for opened in book.opened.values() for each in book._cohorts(opened)]
        assert book.count == len(cohorts)
        assert _near(book.held, sum((each[1] for each in cohorts), D(0)))
        assert sum(bin.count for bin in book.bins.values()) == len(cohorts)
        held = sum((bin.held for bin in book.bins.values()), D(0))
        assert _near(held, sum((each[2] for each in cohorts), D(0)))
        assert sum(book.about.values) == pytest.approx(float(held), rel=1e-6, abs=1e-3)


def _near(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= D("1e-24") * max(one, other, D(1))
