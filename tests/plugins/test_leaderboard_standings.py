"""Standings from one computation to the next: what is kept of the one before changes no figure."""

from collections.abc import Generator
from decimal import Decimal
from random import Random
from typing import Any

from attrs import evolve
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.drawdown import Drawdown
from flowd_leaderboard.figures import Portfolio
from flowd_leaderboard.standings import Evidence, Measured, Standings, publish, standings
from flowd_leaderboard.trips import Trips
from flowd_leaderboard.weights import Weights

from flowd import testing
from flowd.testing import ScriptedFeed
from flowd.traders import Account, Standing, Trader

NOW_MS, EVERY_MS = 1_795_000_000_000, 600_000
ADDRESSES = [f"0x{number:040x}" for number in range(40)]
ZERO, ONE = Decimal(0), Decimal(1)


def done(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def trader(address: str, volume: int) -> Trader:
    return Trader(address, "hyperliquid", NOW_MS - 10**9, NOW_MS, Decimal(volume), 1, ("BTC",))


def account(address: str, equity: int, time_ms: int) -> Account:
    return Account(address, "hyperliquid", time_ms, Decimal(equity), ZERO, ZERO, ZERO, ())


def traded(trips: Trips, time_ms: int, pnl: int) -> Trips:
    """These trips and one more, whose last fill waits for others of its millisecond."""
    longer = trips.copy()
    longer.add("BTC", Leg(time_ms, "1", ZERO, ONE, ZERO, ZERO, Decimal(100)))
    longer.add("BTC", Leg(time_ms + 1, "2", ONE, -ONE, Decimal(pnl), ONE, Decimal(100)))
    return longer


def some_of(random: Random, share: float) -> list[str]:
    return [address for address in ADDRESSES if random.random() < share]


def onward(random: Random, known: Evidence, share: float) -> Evidence:
    """What is known ten minutes later, when something became of so many."""
    at = known.time_ms
    later = evolve(
        known,
        time_ms=at + EVERY_MS,
        traders={**known.traders},
        accounts={**known.accounts},
        trips={**known.trips},
        portfolios={**known.portfolios},
        drawdowns={**known.drawdowns},
    )
    changes: dict[str, Any] = {
        "traders": lambda one: trader(one, random.randrange(1000)),
        "accounts": lambda one: account(one, random.randrange(1000), at),
        "trips": lambda one: traded(known.trips.get(one, Trips()), at, random.randrange(-9, 9)),
        "portfolios": lambda one: Portfolio(one, at, ONE, random.choice((None, at)), None),
        "drawdowns": lambda one: Drawdown(1.0, at, 0.5, random.random(), 9),
    }
    for name, change in changes.items():
        for address in some_of(random, share):
            getattr(later, name)[address] = change(address)
    return later


def computed(known: Evidence, before: dict[str, Measured], listed_max: int = 100) -> Standings:
    found: Standings = done(standings(known, 2, Weights(), "linear", listed_max, before))
    return found


def rows(feed: ScriptedFeed[Standing]) -> dict[str, Standing]:
    return {record.value.address: record.value for record in feed.records()}


def board() -> ScriptedFeed[Standing]:
    return testing.feed(record=Standing, retain=100)


def test_rows_are_the_same_as_if_all_had_been_measured_anew() -> None:
    random, known, before = Random(5), Evidence(NOW_MS), {}
    kept, anew = board(), board()
    for share in (0.9, 0.0, 0.02, 0.3, 0.0, 0.02, 0.5):
        known = onward(random, known, share)
        found = computed(known, before, listed_max=35)

        done(publish(kept, found))
        done(publish(anew, computed(known, {}, listed_max=35)))

        before = dict(found.listed)
        assert rows(kept) == rows(anew)
        assert kept.stream.seq == anew.stream.seq


def test_who_did_nothing_is_not_measured_again_and_has_no_new_row() -> None:
    traders = {address: trader(address, 5) for address in ADDRESSES}
    known = Evidence(NOW_MS, traders)
    feed, first = board(), computed(known, {})
    done(publish(feed, first))
    one = ADDRESSES[3]

    later = evolve(known, time_ms=NOW_MS + 1, traders={**traders, one: trader(one, 6)})
    second = computed(later, dict(first.listed))
    done(publish(feed, second))

    same = [address for address in ADDRESSES if first.listed[address] is second.listed[address]]
    assert set(ADDRESSES) - set(same) == {one}
    assert [record.key for record in feed.stream.after(len(ADDRESSES))] == [one]


def test_a_row_says_a_day_later_that_the_account_is_a_day_older() -> None:
    known = Evidence(NOW_MS, {ADDRESSES[0]: trader(ADDRESSES[0], 5)})
    feed, first = board(), computed(known, {})
    done(publish(feed, first))

    later = evolve(known, time_ms=NOW_MS + 86_400_000)
    done(publish(feed, computed(later, dict(first.listed))))

    ages = [record.value.account_age_days for record in feed.records()]
    assert ages == [12]


def test_fills_that_waited_count_once_others_of_their_millisecond_have_come() -> None:
    address = ADDRESSES[0]
    known = Evidence(NOW_MS, trips={address: traded(Trips(), NOW_MS, 5)})
    feed, first = board(), computed(known, {})
    done(publish(feed, first))

    later = evolve(known, time_ms=NOW_MS + EVERY_MS)
    done(publish(feed, computed(later, dict(first.listed))))

    assert [record.value.trips for record in feed.records()] == [1]
