"""What a component counts: every reason is counted, and none floods the log or the memory."""

from itertools import pairwise

import pytest

from flowd.values.tally import REASONS_MAX, Tally


def test_each_reason_for_dropping_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tally = Tally()

    for _ in range(100):
        tally.drop("orders", "not JSON", "<html>", 0)
    tally.drop("orders", "unknown side", None, 0)
    tally.drop("orders", "not JSON", "later", 59_999)
    tally.drop("orders", "not JSON", "<body>", 60_000)

    assert caplog.messages == [
        "orders: dropped (not JSON, 1 so far): '<html>'",
        "orders: dropped (unknown side, 1 so far)",
        "orders: dropped (not JSON, 102 so far): '<body>'",
    ]
    assert tally.dropped == {"not JSON": 102, "unknown side": 1}


def test_what_is_dropped_all_the_time_is_logged_ever_more_seldom_until_it_was_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tally = Tally()

    for minute in [*range(24 * 60), *range(30 * 60, 30 * 60 + 3)]:
        tally.drop("orders", "COIN-M", minute, minute * 60_000)

    logged = [int(record.message.rpartition(" ")[2]) for record in caplog.records]
    assert logged[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert [later - one for one, later in pairwise(logged[7:-2])] == [60] * 21
    assert logged[-2:] == [30 * 60, 30 * 60 + 1]


def test_several_may_be_dropped_at_once() -> None:
    tally = Tally()

    tally.drop("hook", "refused", None, 0, count=20)

    assert tally.dropped == {"refused": 20}


def test_the_sample_of_what_was_dropped_is_short(caplog: pytest.LogCaptureFixture) -> None:
    Tally().drop("orders", "not JSON", "x" * 1_000_000, 0)

    assert len(caplog.messages[0]) < 300


def test_the_log_names_the_component(caplog: pytest.LogCaptureFixture) -> None:
    Tally().drop("orders", "not JSON", None, 0)

    assert caplog.records[0].name == "flowd.orders"


def test_reasons_without_end_are_counted_as_other() -> None:
    tally = Tally()

    for number in range(REASONS_MAX + 50):
        tally.drop("orders", f"error {number}", None, 0)
    tally.drop("orders", "error 0", None, 0)

    assert tally.dropped["other"] == 50
    assert tally.dropped["error 0"] == 2
    assert len(tally.dropped) == REASONS_MAX + 1
