"""The feed of liquidations: what is published and counted of it, counterparties that stand in, and
what is said of their proportion.
"""

from decimal import Decimal
from typing import Any

import pytest
import trio
from flowd_hydromancer import fills
from flowd_hydromancer.infer import WAITING_MAX, Waiting
from flowd_hydromancer.parse import fill
from trio.testing import MockClock

from flowd import testing
from flowd.market import Fill, Total
from flowd.plugin import UpstreamError
from tests.plugins.hydromancer_kit import (
    ACCEPTS,
    ACCEPTS_LIQUIDATIONS,
    ALL,
    LIQUIDATIONS,
    MAKER,
    THIRD,
    WHALE,
    block,
    config,
    counterparty,
    forced,
    liquidated,
    row,
    stamp,
)

Nursery = trio.Nursery
BOTH = config("liquidationFills", include_counterparty=True)
INFERRING = config("liquidationFills", infer_from_counterparty=True)


async def publishes(settings: Any, *texts: str, seconds: float = 1) -> Any:
    """The feed of a source that heard these messages."""
    accepts = ACCEPTS_LIQUIDATIONS if settings.liquidations else ACCEPTS
    feed = testing.feed(accepts + testing.says(*texts))
    with trio.move_on_after(seconds):
        await fills(settings, feed)
    return feed


def total(feed: Any) -> tuple[str, int]:
    """(volume, count) of what was published."""
    found: Total = feed.tables["totals"].get("total")
    return f"{found.volume:f}", found.count


async def test_the_worked_example_is_counted_once(autojump_clock: MockClock) -> None:
    pair = [
        liquidated(0, tid=7, coin="ETH", px="2150.5", sz="2"),
        counterparty(0, tid=7, coin="ETH", px="2150.5", sz="2"),
    ]

    feed = await publishes(LIQUIDATIONS, forced(1, *pair))

    (found,) = feed.values
    assert (found.side, found.notional, found.role) == ("SELL", Decimal(4301), "liquidated")
    assert total(feed) == ("4301", 1)
    assert feed.tally.dropped == {}, "a counterparty is nothing bad"


async def test_counterparties_are_shown_if_asked_for_and_still_count_for_nothing(
    autojump_clock: MockClock,
) -> None:
    feed = await publishes(BOTH, forced(1, liquidated(1), counterparty(1)))

    assert [one.role for one in feed.values] == ["liquidated", "counterparty"]
    assert total(feed) == ("42250", 1)


async def test_what_is_no_liquidation_is_left_out_by_reason(autojump_clock: MockClock) -> None:
    feed = await publishes(
        LIQUIDATIONS,
        forced(
            1,
            row(1),
            row(2, dir="Auto-Deleveraging", liquidation=stamp(method="backstop")),
            row(3, dir="Partial Borrow Liquidation"),
            row(4, dir="Backstop Borrow Liquidation"),
            row(5, dir="Liquidated Isolated Short"),
        ),
    )

    assert [one.dir for one in feed.values] == ["Liquidated Isolated Short"]
    assert feed.tally.dropped == {
        "not a liquidation": 1,
        "auto-deleveraging": 1,
        "borrow liquidation": 2,
    }
    assert total(feed) == ("42250", 1)


async def test_all_fills_has_every_valid_row_with_its_role(autojump_clock: MockClock) -> None:
    feed = await publishes(
        ALL,
        block(
            1,
            row(1),
            liquidated(2),
            counterparty(2),
            row(3, dir="Auto-Deleveraging", liquidation=stamp()),
            row(4, dir="Liquidated Cross Long"),
            row(5, coin="@107", dir="Buy"),
        ),
    )

    roles = [one.role for one in feed.values]
    assert roles == [None, "liquidated", "counterparty", None, "liquidated", None]
    assert total(feed) == (str(6 * 42250), 6)


async def test_filters_hide_without_counting_as_dropped(autojump_clock: MockClock) -> None:
    settings = config("liquidationFills", dex="main", coins=["BTC"])

    feed = await publishes(
        settings, forced(1, liquidated(1), liquidated(2, coin="ETH"), row(3, coin="xyz:TSLA"))
    )

    assert [one.symbol for one in feed.values] == ["BTC"]
    assert feed.tally.dropped == {}
    assert total(feed) == ("42250", 1)


async def test_totals_go_on_from_what_the_state_has(autojump_clock: MockClock) -> None:
    feed = testing.feed(ACCEPTS + testing.says(block(1, row(1))))
    table = feed.table("totals", Total)
    table.append(Total(Decimal("0.5"), 41, 1_600_000_000_000), key="total")

    with trio.move_on_after(1):
        await fills(ALL, feed)

    assert table.get("total") == Total(Decimal("42250.5"), 42, 1_600_000_000_000, "hyperliquid")


async def test_a_total_of_an_older_flowd_says_at_once_whose_it_is(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(ACCEPTS)
    table = feed.table("totals", Total)
    table.append(Total(Decimal("0.5"), 41, 1_600_000_000_000), key="total")

    with trio.move_on_after(1):
        await fills(ALL, feed)

    assert table.get("total") == Total(Decimal("0.5"), 41, 1_600_000_000_000, "hyperliquid")


async def test_sums_of_the_largest_numbers_stay_exact(autojump_clock: MockClock) -> None:
    large = {"px": "9" * 18 + "." + "9" * 18, "sz": "9" * 18 + "." + "9" * 18}

    feed = await publishes(ALL, *(block(n, row(n, **large)) for n in range(1, 200)))

    volume, count = total(feed)
    assert count == 199
    assert Decimal(volume).as_tuple().digits[-1] == 9


async def test_rows_and_their_total_are_appended_in_one_step(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    texts = [block(n, *(row(n * 1000 + m) for m in range(250))) for n in range(1, 6)]
    feed = testing.feed(ACCEPTS + testing.says(*texts))
    seen: list[tuple[int, int]] = []

    async def look() -> None:
        while True:
            await feed.stream.news(feed.stream.seq)
            seen.append((len(feed.values), feed.tables["totals"].get("total").count))

    nursery.start_soon(look)
    nursery.start_soon(fills, ALL, feed)
    await trio.sleep(1)

    assert len(seen) > 3
    assert all(rows == counted for rows, counted in seen)
    nursery.cancel_scope.cancel()


# -- inferring --


async def test_a_counterparty_stands_in_for_a_row_that_does_not_come(
    autojump_clock: MockClock,
) -> None:
    feed = await publishes(INFERRING, forced(1, counterparty(1)), seconds=4)
    assert feed.values == []

    feed = await publishes(INFERRING, forced(1, counterparty(1)), seconds=6)

    (found,) = feed.values
    assert (found.inferred, found.address, found.side) == (True, WHALE, "SELL")
    assert total(feed) == ("42250", 1)


@pytest.mark.parametrize("first", ["counterparty", "liquidated"])
async def test_nothing_is_inferred_when_both_rows_come_in_either_order(
    first: str, autojump_clock: MockClock
) -> None:
    pair = [counterparty(1), liquidated(1)]
    texts = [
        forced(n, one) for n, one in enumerate(pair if first == "counterparty" else pair[::-1], 1)
    ]

    feed = await publishes(INFERRING, *texts, seconds=20)

    (found,) = feed.values
    assert not found.inferred
    assert total(feed) == ("42250", 1)


async def test_a_row_that_comes_after_it_was_inferred_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(
        ACCEPTS_LIQUIDATIONS
        + testing.says(forced(1, counterparty(1)))
        + testing.waits(8)
        + testing.says(forced(2, liquidated(1)))
    )

    with trio.move_on_after(20):
        await fills(INFERRING, feed)

    assert [one.inferred for one in feed.values] == [True]
    assert total(feed) == ("42250", 1)


async def test_nothing_is_inferred_unless_asked_for(autojump_clock: MockClock) -> None:
    feed = await publishes(LIQUIDATIONS, forced(1, counterparty(1)), seconds=30)

    assert feed.values == []


async def test_a_row_of_a_trade_without_a_number_is_not_inferred_from(
    autojump_clock: MockClock,
) -> None:
    feed = await publishes(INFERRING, forced(1, counterparty(1, tid=None)), seconds=30)

    assert feed.values == []


async def test_waiting_survives_another_connection(autojump_clock: MockClock) -> None:
    feed = testing.feed(
        ACCEPTS_LIQUIDATIONS + testing.says(forced(1, counterparty(1)), forced(5)),
        testing.says('{"type":"reconnected","sessionId":"session-0001"}'),
    )

    with trio.move_on_after(10):
        await fills(INFERRING, feed)

    assert len(feed.upstream.urls) == 2, "a hole, mended"
    assert [one.inferred for one in feed.values] == [True]


def read(sent: list[Any]) -> Fill:
    from flowd_hydromancer.frames import decode

    frame, _ = decode(block(1, sent))
    return fill(*frame.items[0])


def test_only_so_many_trades_wait() -> None:
    waiting = Waiting()

    for number in range(WAITING_MAX + 5):
        waiting.note(read(counterparty(number)), now=0.0)

    due = list(waiting.due(now=5.0))
    assert len(due) == WAITING_MAX
    assert due[0].time_ms == read(counterparty(5)).time_ms


def test_what_is_due_and_not_taken_stays() -> None:
    waiting = Waiting()
    for number in range(3):
        waiting.note(read(counterparty(number)), now=0.0)

    due = waiting.due(now=5.0)
    first = next(due)

    assert first.id != next(waiting.due(now=5.0)).id
    assert len(list(waiting.due(now=5.0))) == 1


# -- the proportion of counterparties --


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if "counterparties'" in one.getMessage()]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda n: [liquidated(n)], "none are counterparties'"),
        (lambda n: [counterparty(n)], "all are counterparties'"),
    ],
)
async def test_trades_with_rows_of_one_side_only_are_remarked_on_once(
    make: Any, words: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [forced(n, *make(n)) for n in range(1, 401)]

    await publishes(LIQUIDATIONS, *texts)

    (line,) = warnings(caplog)
    assert words in line
    assert "100 liquidation trades" in line


async def test_trades_with_both_rows_are_as_expected(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await publishes(
        LIQUIDATIONS, *(forced(n, liquidated(n), counterparty(n)) for n in range(1, 301))
    )

    assert warnings(caplog) == []


async def test_fewer_trades_say_nothing_yet(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await publishes(LIQUIDATIONS, *(forced(n, liquidated(n)) for n in range(1, 100)))

    assert warnings(caplog) == []


async def test_the_remark_is_not_repeated_by_another_run(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [forced(n, liquidated(n)) for n in range(1, 151)]
    feed = testing.feed(ACCEPTS_LIQUIDATIONS + testing.says(*texts) + testing.drops())
    for _ in range(2):
        with trio.move_on_after(5):
            with pytest.raises(BaseExceptionGroup) as caught:
                await fills(LIQUIDATIONS, feed)
            assert caught.group_contains(UpstreamError)

    assert len(warnings(caplog)) == 1


def test_the_addresses_of_these_tests_differ() -> None:
    assert len({WHALE, MAKER, THIRD}) == 3
