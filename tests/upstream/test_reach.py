"""Where the data of a source ends, and how late it comes, by upstream's own times."""

from flowd.upstream.reach import Reach

MINUTE_MS = 60_000


def tell(reach: Reach, happened_ms: int, now_ms: int) -> None:
    """Upstream tells now what happened then, and has told all until then."""
    reach.note(happened_ms, now_ms)
    reach.upto(happened_ms, now_ms)


def at(*pairs: tuple[int, int]) -> Reach:
    """What was learned from what happened and when it came."""
    reach = Reach()
    for happened_ms, now_ms in pairs:
        tell(reach, happened_ms, now_ms)
    return reach


def test_data_ends_with_the_newest_that_was_told_however_late_it_came() -> None:
    reach = at((1_000_000, 1_000_050), (1_008_000, 1_020_000))

    assert reach.ends_ms(alive_ms=1_020_000) == 1_008_000


def test_data_ends_no_later_than_the_last_sign_of_life() -> None:
    assert at((1_008_000, 1_008_050)).ends_ms(alive_ms=1_007_000) == 1_007_000


def test_without_times_of_upstream_it_ends_with_the_last_sign_of_life() -> None:
    assert Reach().ends_ms(alive_ms=7_000) == 7_000
    assert Reach().ends_ms(alive_ms=None) is None


def test_what_comes_out_of_order_does_not_take_the_end_back() -> None:
    assert at((1_002_000, 1_002_000), (1_001_000, 1_002_500)).ends_ms(1_002_500) == 1_002_000


def test_a_clock_that_is_ahead_at_the_exchange_does_not_hide_what_is_lost() -> None:
    reach = at((1_003_000, 1_000_000), (1_013_000, 1_030_000))

    assert reach.ends_ms(alive_ms=1_030_000) == 1_010_000, "by our clock, which is behind"
    assert reach.begins_ms(1_040_000) == 1_043_000, "by theirs"


def test_a_clock_that_is_behind_at_the_exchange_does_not_hide_what_is_lost() -> None:
    reach = at((1_000_000, 1_003_000), (1_010_000, 1_030_000))

    assert reach.ends_ms(alive_ms=1_030_000) == 1_010_000
    assert reach.begins_ms(1_040_000) == 1_040_000


def test_times_that_fit_no_clock_say_nothing() -> None:
    for nonsense_ms in (0, 4_000_000_000_000, 1_000_000 - 11 * MINUTE_MS):
        reach = at((1_000_000, 1_000_000), (nonsense_ms, 1_000_500), (1_001_000, 1_001_000))

        assert reach.ends_ms(alive_ms=1_002_000) == 1_001_000
        assert reach.usual_ms == 0


def test_who_delivers_again_has_all_from_there_on() -> None:
    reach = at((1_000_000, 1_000_100))

    reach.begins_ms(1_050_000)

    assert reach.ends_ms(alive_ms=1_060_000) == 1_049_900


def test_who_says_up_to_when_all_was_told_says_nothing_of_the_lag() -> None:
    reach = at((1_000_000, 1_000_100))

    reach.upto(1_007_000, 1_010_000)

    assert reach.ends_ms(alive_ms=1_010_000) == 1_007_000
    assert (reach.usual_ms, reach.late_ms(1_010_000)) == (100, 0)


def test_late_is_what_comes_later_than_usual() -> None:
    reach = Reach()
    for second in range(60):
        tell(reach, 1_000_000 + second * 1000, 1_000_800 + second * 1000)
    assert reach.late_ms(1_060_000) == 0

    for second in range(60, 90):
        tell(reach, 1_000_000 + second * 1000, 1_008_800 + second * 1000)

    assert reach.late_ms(1_099_000) == 8_000


def test_one_that_comes_late_among_others_is_not_yet_late() -> None:
    reach = at((1_000_000, 1_000_000), (960_000, 1_000_500), (1_001_000, 1_001_000))

    assert reach.late_ms(1_002_000) == 0


def test_what_was_late_long_ago_is_late_no_more() -> None:
    reach = at((1_000_000, 1_000_000), (1_020_000, 1_050_000))

    assert (reach.late_ms(1_060_000), reach.late_ms(1_070_000)) == (30_000, None)


def test_who_is_very_late_is_late_too_though_it_says_nothing_of_the_end() -> None:
    reach = at((1_000_000, 1_000_000), (1_030_000, 1_030_000 + 15 * MINUTE_MS))

    assert reach.late_ms(1_030_000 + 15 * MINUTE_MS) == 15 * MINUTE_MS
    assert reach.ends_ms(alive_ms=2_000_000) == 1_000_000


def test_the_usual_lag_is_of_the_last_hour() -> None:
    reach = at((1_000_000, 1_000_000))
    for second in range(1, 4000):
        tell(reach, 1_000_000 + second * 1000, 1_004_000 + second * 1000)

    assert reach.usual_ms == 4_000


def test_what_was_learned_by_a_clock_that_was_set_is_forgotten() -> None:
    reach = at((1_000_000, 1_000_000))

    reach.forget()
    tell(reach, 1_010_000, 1_310_000)

    assert (reach.usual_ms, reach.late_ms(1_310_000)) == (300_000, 0)
    assert reach.ends_ms(alive_ms=1_320_000) == 1_010_000
