"""Events of positions: exactly one for each change, whoever tells it."""

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from attrs import evolve, frozen
from flowd_hyperliquid.accounts import Accounts
from flowd_hyperliquid.changes import Before, change, compared, filled
from flowd_hyperliquid.covered import Coverage, Known, Since, Size, Upto
from flowd_hyperliquid.equity import POINTS_MAX, grown
from flowd_hyperliquid.rounds import Rounds
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Fill
from flowd.plugin import Delivery, Outage
from flowd.traders import Account, PositionEvent
from tests.plugins.hyperliquid_kit import ALICE, BOB, CAROL, T, account, fill, position

ZERO = Decimal(0)


# -- the taxonomy --


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        ("0", "0", None),
        ("1", "1.0", None),
        ("0", "2", "OPEN"),
        ("0", "-2", "OPEN"),
        ("2", "0", "CLOSE"),
        ("-2", "0", "CLOSE"),
        ("2", "3", "INCREASE"),
        ("-2", "-3", "INCREASE"),
        ("3", "2", "DECREASE"),
        ("-3", "-2", "DECREASE"),
        ("1", "-1", "FLIP"),
        ("-1", "0.5", "FLIP"),
    ],
)
def test_a_change_is_of_one_kind(before: str, now: str, kind: str | None) -> None:
    assert change(Decimal(before), Decimal(now)) == kind


def event(before: Before, now: Any, **options: Any) -> PositionEvent | None:
    symbol = "BTC" if now is None else now.symbol
    state = account(60, *([] if now is None else [now]))
    given = {"detected_ms": T + 61_000, "least": ZERO} | options
    return compared(state, symbol, before, now, **given)


def test_one_at_100_and_then_three_at_110_were_bought_at_115() -> None:
    told = event(Before(Decimal(1), T, Decimal(100)), position("BTC", "3", "110", mark="112"))

    assert told is not None
    assert (told.event, told.side, told.delta) == ("INCREASE", "LONG", Decimal(2))
    assert told.implied_price == Decimal(115)
    assert (told.mark_price, told.notional) == (Decimal(112), Decimal(224))
    assert (told.prev_entry_price, told.entry_price) == (Decimal(100), Decimal(110))
    assert (told.from_ms, told.time_ms, told.sampled) == (T, T + 60_000, True)


def test_a_price_that_is_far_from_the_mark_was_made_by_more_than_one_change() -> None:
    told = event(Before(Decimal(1), T, Decimal(100)), position("BTC", "3", "110", mark="150"))

    assert told is not None
    assert told.implied_price is None


@pytest.mark.parametrize("entry", ["10", "300"])
def test_a_price_below_zero_or_far_off_is_none(entry: str) -> None:
    told = event(Before(Decimal(1), T, Decimal(100)), position("BTC", "2", entry, mark="100"))

    assert told is not None
    assert told.implied_price is None


def test_what_opens_and_what_flips_was_paid_as_the_entry_says() -> None:
    opened = event(Before(ZERO, T), position("BTC", "2", "100", mark="101"))
    flipped = event(Before(Decimal(-1), T, Decimal(90)), position("BTC", "2", "100", mark="101"))

    assert opened is not None
    assert flipped is not None
    assert (opened.event, opened.implied_price) == ("OPEN", Decimal(100))
    assert (flipped.event, flipped.implied_price) == ("FLIP", Decimal(100))
    assert flipped.delta == Decimal(3)


def test_no_price_is_known_of_what_closes() -> None:
    less = event(Before(Decimal(2), T, Decimal(100)), position("BTC", "1", "100", mark="101"))
    closed = event(Before(Decimal(-2), T, Decimal(100)), None, mark=Decimal(101))

    assert less is not None
    assert closed is not None
    assert (less.event, less.implied_price) == ("DECREASE", None)
    assert (closed.event, closed.side, closed.implied_price) == ("CLOSE", "SHORT", None)
    assert (closed.mark_price, closed.notional) == (Decimal(101), Decimal(202))


def test_dust_is_no_event_unless_it_opens_or_closes() -> None:
    least = Decimal(50)

    assert event(Before(Decimal(1), T), position("BTC", "1.4"), least=least) is None
    assert event(Before(Decimal(1), T), position("BTC", "1.5"), least=least) is not None
    assert event(Before(ZERO, T), position("BTC", "0.01"), least=least) is not None
    assert event(Before(Decimal("0.01"), T), None, least=least, mark=Decimal(1)) is not None


def test_the_domain_pages_six_fills_are_five_kinds_of_event() -> None:
    fills = [
        fill(1, "BUY", "1", "100", start="0"),
        fill(2, "SELL", "0.4", "110", start="1"),
        fill(3, "SELL", "0.6", "90", start="0.6"),
        fill(4, "SELL", "2", "90", start="0"),
        fill(5, "BUY", "3", "80", start="-2"),
        fill(6, "SELL", "1", "95", start="1"),
    ]

    told = [filled(one, detected_ms=T) for one in fills]

    kinds = [one.event for one in told if one is not None]
    assert kinds == ["OPEN", "DECREASE", "CLOSE", "OPEN", "FLIP", "CLOSE"]
    assert all(one is not None and not one.sampled for one in told)


def test_a_fill_that_does_not_say_where_it_began_tells_no_event() -> None:
    assert filled(evolve(fill(1, "BUY", "1"), start_position=None), detected_ms=T) is None


# -- accounts, by states and by fills --


@frozen
class Scene:
    feed: testing.ScriptedFeed[PositionEvent]
    accounts: Accounts
    known: Known

    @property
    def kinds(self) -> list[str]:
        return [value.event for value in self.feed.values]


def scene(
    *,
    fills: bool = False,
    delivering: bool = True,
    outages: tuple[Outage, ...] = (),
    feed: testing.ScriptedFeed[PositionEvent] | None = None,
    since_ms: int = T,
) -> Scene:
    """Accounts that are told of by a stream of fills, or are not."""
    feed = feed or testing.feed(record=PositionEvent, name="positions")
    told = testing.streams(testing.stream("all-fills", record=Fill))["all-fills"]
    told.delivery = lambda: Delivery(delivering=delivering)
    missing = testing.streams(testing.stream("outages", outages, record=Outage))["outages"]
    coverage = Coverage(
        told if fills else None, missing, "positions", feed.table("since", Since), lambda: since_ms
    )
    known = Known(feed.table("sizes", Size), feed.table("told", Upto))
    return Scene(feed, Accounts(feed, coverage, known), known)


def test_the_first_state_is_a_baseline() -> None:
    one = scene()

    one.accounts.take(account(0, position("BTC", "1")))

    assert one.kinds == []


def test_two_states_tell_one_event_for_each_coin_that_changed() -> None:
    one = scene()
    one.accounts.take(account(0, position("BTC", "1"), position("ETH", "2")))

    one.accounts.take(account(60, position("BTC", "-1"), position("SOL", "3")))

    assert [(e.symbol, e.event) for e in one.feed.values] == [
        ("BTC", "FLIP"),
        ("ETH", "CLOSE"),
        ("SOL", "OPEN"),
    ]


def test_a_state_that_is_not_newer_counts_for_nothing() -> None:
    one = scene()
    one.accounts.take(account(60, position("BTC", "1")))

    assert not one.accounts.take(account(60, position("BTC", "2")))
    assert not one.accounts.take(account(0))

    assert one.kinds == []
    assert one.feed.tally.dropped == {"state out of order": 1}


def test_a_turnover_that_leaves_the_size_is_counted_and_no_event() -> None:
    one = scene()
    one.accounts.take(account(0, position("BTC", "1", "100")))

    one.accounts.take(account(60, position("BTC", "1", "105")))

    assert one.kinds == []
    assert one.feed.tally.figures["unseen_turnover"] == 1


def test_a_close_during_which_the_account_was_liquidated_says_so() -> None:
    one = scene()
    one.accounts.take(account(0, position("BTC", "1"), position("ETH", "1")))
    one.accounts.forced(fill(30, "SELL", "1", forced=True))

    one.accounts.take(account(60, position("ETH", "2")))

    assert [(e.symbol, e.liquidated) for e in one.feed.values] == [("BTC", True), ("ETH", False)]


def test_a_liquidation_before_the_two_states_is_not_theirs() -> None:
    one = scene()
    one.accounts.forced(fill(-30, "SELL", "1", forced=True))
    one.accounts.take(account(0, position("BTC", "1")))

    one.accounts.take(account(60))

    assert [e.liquidated for e in one.feed.values] == [False]


def test_a_fill_tells_its_event_and_the_next_state_does_not_tell_it_again() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.fill(fill(30, "BUY", "2", start="1"))
    one.accounts.take(account(60, position("BTC", "3")))

    assert [(e.event, e.sampled) for e in one.feed.values] == [("INCREASE", False)]


def test_a_fill_that_comes_after_the_state_which_shows_it_is_told_all_the_same() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.take(account(60, position("BTC", "3")))
    one.accounts.fill(fill(30, "BUY", "2", start="1"))

    assert [(e.event, e.sampled) for e in one.feed.values] == [("INCREASE", False)]


def test_what_happened_in_an_outage_is_told_by_comparison_and_not_by_a_late_fill() -> None:
    one = scene(fills=True, outages=(Outage("all-fills", T + 20_000, T + 40_000),))
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.take(account(60, position("BTC", "3")))
    one.accounts.fill(fill(30, "BUY", "2", start="1"))

    assert [(e.event, e.sampled) for e in one.feed.values] == [("INCREASE", True)]


def test_after_an_outage_the_comparison_begins_where_fills_ended() -> None:
    outage = Outage("all-fills", T + 20_000, T + 40_000)
    one = scene(fills=True, outages=(outage,))
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.fill(fill(10, "BUY", "2", start="1"))
    one.accounts.take(account(60, position("BTC", "2")))

    assert [(e.event, e.sampled) for e in one.feed.values] == [
        ("INCREASE", False),
        ("DECREASE", True),
    ]
    assert one.feed.values[1].from_ms == T + 10_000


def test_a_fill_that_begins_elsewhere_tells_what_was_missed_before_it() -> None:
    outage = Outage("all-fills", T + 20_000, T + 40_000)
    one = scene(fills=True, outages=(outage,))
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.fill(fill(50, "BUY", "2", start="5"))
    one.accounts.fill(fill(30, "BUY", "4", start="1"))

    assert [(e.event, e.sampled, f"{e.size}") for e in one.feed.values] == [
        ("INCREASE", True, "5"),
        ("INCREASE", False, "7"),
    ]
    assert one.feed.tally.dropped == {"fill too late": 1}


TSLA = "xyz:TSLA"


def test_of_a_builders_market_a_state_neither_confirms_nor_corrects_what_fills_told() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1))
    one.accounts.fill(fill(10, "BUY", "2", start="3", symbol=TSLA))
    one.accounts.take(account(60))

    one.accounts.fill(fill(70, "BUY", "1", start="5", symbol=TSLA))

    assert [(e.event, e.sampled) for e in one.feed.values] == [("INCREASE", False)] * 2


def test_of_a_builders_market_what_was_missed_is_told_by_the_next_fill() -> None:
    outage = Outage("all-fills", T + 20_000, T + 40_000)
    one = scene(fills=True, outages=(outage,))
    one.accounts.take(account(1))
    one.accounts.fill(fill(10, "SELL", "2", start="2", symbol=TSLA))
    one.accounts.take(account(60))

    one.accounts.fill(fill(50, "BUY", "1", start="4", symbol=TSLA))
    one.accounts.fill(fill(70, "SELL", "5", start="5", symbol=TSLA))

    assert [(e.event, e.sampled, f"{e.size}") for e in one.feed.values] == [
        ("CLOSE", False, "0"),
        ("OPEN", True, "4"),
        ("INCREASE", False, "5"),
        ("CLOSE", False, "0"),
    ]
    assert not one.feed.tally.dropped


def test_a_builders_position_that_was_closed_long_ago_is_forgotten() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1))
    one.accounts.fill(fill(10, "SELL", "2", start="2", symbol=TSLA))

    one.accounts.take(account(3600))
    kept = set(one.known.symbols(ALICE))
    one.accounts.take(account(3611))

    assert (kept, one.known.symbols(ALICE)) == ({TSLA}, set())


def test_while_fills_are_not_delivered_states_are_compared() -> None:
    one = scene(fills=True, delivering=False)
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.take(account(60))

    assert [(e.event, e.sampled) for e in one.feed.values] == [("CLOSE", True)]


def test_an_outage_of_another_source_changes_nothing() -> None:
    one = scene(fills=True, outages=(Outage("force-orders", T, None),))
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.take(account(60))

    assert one.kinds == []
    assert one.feed.tally.figures["reconciled"] == 1


def test_before_fills_were_read_states_are_compared() -> None:
    one = scene(fills=True, since_ms=T + 30_000)
    one.accounts.take(account(1, position("BTC", "1")))

    one.accounts.take(account(60))

    assert one.kinds == ["CLOSE"]


def test_after_a_crash_the_comparison_goes_on_from_the_fills_that_were_told() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1))
    one.accounts.fill(fill(10, "BUY", "2"))

    again = scene(fills=True, delivering=False, feed=one.feed)
    again.accounts.take(account(60, position("BTC", "2")))

    assert one.kinds == ["OPEN"]


def test_fills_of_who_is_not_tracked_and_of_the_spot_market_tell_nothing() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1))

    one.accounts.fill(fill(10, "BUY", "2", address=BOB))
    one.accounts.fill(fill(10, "BUY", "2", symbol="@107"))
    one.accounts.fill(fill(10, "BUY", "2", symbol="PURR/USDC"))

    assert one.kinds == []


def test_a_forgotten_account_leaves_nothing_behind() -> None:
    one = scene(fills=True)
    one.accounts.take(account(1))
    one.accounts.fill(fill(10, "BUY", "2"))

    one.accounts.drop(ALICE)

    assert [len(table) for table in one.feed.tables.values() if table.name != "since"] == [0] * 4


# -- random paths, polled and told by fills --


def paths(random: Random) -> Iterator[tuple[float, Fill]]:
    """Fills of one account in two coins, at random times."""
    sizes = {"BTC": ZERO, "ETH": ZERO}
    seconds = 1.0
    for number in range(60):
        seconds += random.choice((0.0, 0.5, 7.0, 40.0))
        symbol = random.choice(("BTC", "ETH"))
        side, size = random.choice(("BUY", "SELL")), random.choice(("1", "2", "3"))
        start = f"{sizes[symbol]:f}"
        one = fill(seconds, side, size, start=start, symbol=symbol, number=number)  # type: ignore[arg-type]
        sizes[symbol] += Decimal(size) if side == "BUY" else -Decimal(size)
        yield seconds, one


def state(seconds: float, sizes: dict[str, Decimal]) -> Account:
    held = [position(symbol, f"{size:f}") for symbol, size in sizes.items() if size]
    return account(seconds, *held)


@given(seed=st.integers(0, 10**6), told=st.booleans(), holes=st.booleans())
def test_events_lead_from_the_first_size_to_the_last_without_a_break(
    seed: int, told: bool, holes: bool
) -> None:
    """Whoever adds the events up, knows the position; and where fills are all told, each is one."""
    random = Random(seed)
    hole = Outage("all-fills", T + 200_000, T + 400_000)
    one = scene(fills=told, outages=(hole,) if holes else ())
    sizes: dict[str, Decimal] = {"BTC": ZERO, "ETH": ZERO}
    one.accounts.take(account(0.5))
    visited = 0.5

    for seconds, made in paths(random):
        if seconds - visited > 30:
            visited = seconds - 0.25
            one.accounts.take(state(visited, sizes))
        signed = made.quantity if made.side == "BUY" else -made.quantity
        sizes[made.symbol] += signed
        missed = holes and hole.from_ms <= made.time_ms <= T + 400_000
        if told and not missed:
            one.accounts.fill(made)
    one.accounts.take(state(seconds + 60, sizes))

    for symbol, size in sizes.items():
        events = [value for value in one.feed.values if value.symbol == symbol]
        at = ZERO
        for value in events:
            assert value.prev_size == at
            assert value.event == change(at, value.size)
            at = value.size
        assert at == size
    if told and not holes:
        assert len(one.feed.values) == 60
        assert not any(value.sampled for value in one.feed.values)
    if not told:
        assert all(value.sampled for value in one.feed.values)


# -- whose turn it is --


def test_who_was_never_visited_comes_first_then_who_was_longest_ago() -> None:
    rounds = Rounds()
    rounds.add(ALICE, 5, visited_ms=100)
    rounds.add(BOB, 6, visited_ms=50)
    rounds.add(CAROL, 9)

    order = [rounds.take(), rounds.take(), rounds.take(), rounds.take()]

    assert order == [CAROL, BOB, ALICE, None]
    assert (rounds.waiting, rounds.oldest_ms) == (1, 50)


def test_ties_go_by_first_sight_then_by_address() -> None:
    rounds = Rounds()
    rounds.add(CAROL, 5)
    rounds.add(BOB, 5)
    rounds.add(ALICE, 6)

    assert [rounds.take() for _ in range(3)] == [BOB, CAROL, ALICE]


def test_who_was_visited_goes_to_the_back() -> None:
    rounds = Rounds()
    rounds.add(ALICE, 1)
    rounds.add(BOB, 2)

    turns = []
    for time_ms in range(10, 14):
        turn = rounds.take()
        assert turn is not None
        turns.append(turn)
        rounds.visited(turn, time_ms)

    assert turns == [ALICE, BOB, ALICE, BOB]
    assert rounds.waiting == 0


def test_who_is_dropped_has_no_turn() -> None:
    rounds = Rounds()
    rounds.add(ALICE, 1)
    rounds.add(BOB, 2)

    rounds.drop(ALICE)
    rounds.drop(CAROL)

    assert [rounds.take(), rounds.take()] == [BOB, None]
    assert rounds.waiting == 1


def test_nobody_has_two_turns_at_once_however_many_visits_there_were() -> None:
    rounds = Rounds()
    rounds.add(ALICE, 1)
    rounds.add(BOB, 2)
    assert rounds.take() == ALICE

    for time_ms in range(200):
        assert rounds.take() == BOB
        rounds.visited(BOB, time_ms)

    assert [rounds.take(), rounds.take()] == [BOB, None]


# -- equity --


def test_equity_keeps_its_beginning_and_its_newest_points() -> None:
    points = ""
    for number in range(1000):
        points = grown(points, T + number, Decimal(number))

    times = [int(point.split(":")[0]) - T for point in points.split()]
    assert len(times) <= POINTS_MAX
    assert times == sorted(set(times))
    assert times[0] == 0
    assert times[-10:] == list(range(990, 1000))
