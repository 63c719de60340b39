"""The transform `leaderboard`: what streams and answers tell becomes standings, each fill once."""

import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import flowd_leaderboard
import pytest
import trio
from attrs import evolve, frozen
from flowd_leaderboard import leaderboard
from flowd_leaderboard.config import PAGE, Config
from flowd_leaderboard.figures import Portfolio
from flowd_leaderboard.portfolio import Portfolios, read
from flowd_leaderboard.weights import Weights

from flowd import testing
from flowd.market import Fill
from flowd.plugin import Seconds, Stream, UserError
from flowd.testing import ScriptedFeed
from flowd.traders import Account, OpenPosition, PositionEvent, Standing, Trader

FRAMES = Path(__file__).parent.parent / "frames"
NOW_MS = testing.START_MS
DAY_MS = 86_400_000
DAY_S = 86_400
URL = "https://hyperliquid.test/info"
A, B, C = ("0x" + letter * 40 for letter in "abc")

Clock = trio.testing.MockClock
numbers = count()


def trader(address: str, volume: int = 100, **changes: Any) -> Trader:
    made: dict[str, Any] = {"first_seen_ms": NOW_MS - 3 * DAY_MS, "last_seen_ms": NOW_MS}
    return Trader(
        address, "hyperliquid", volume=Decimal(volume), trades=1, symbols=("BTC",), **made | changes
    )


def account(address: str, equity: int, at_ms: int = NOW_MS, pnl: int = 0) -> Account:
    zero = Decimal(0)
    position = OpenPosition(
        "BTC", Decimal(1), None, Decimal(100), Decimal(pnl), None, 5, False, zero
    )
    return Account(
        address, "hyperliquid", at_ms, Decimal(equity), zero, zero, zero, (position, position)
    )


def changed(address: str, notional: int) -> PositionEvent:
    amount, zero = Decimal(notional), Decimal(0)
    return PositionEvent(
        id="1",
        address=address,
        venue="hyperliquid",
        symbol="BTC",
        event="OPEN",
        side="LONG",
        prev_size=zero,
        size=amount,
        prev_entry_price=None,
        entry_price=None,
        implied_price=None,
        mark_price=None,
        notional=amount,
        from_ms=NOW_MS,
        time_ms=NOW_MS,
        detected_ms=NOW_MS,
        sampled=True,
    )


def fills(
    address: str, *moves: tuple[int, int], start: int = 0, at_ms: int = NOW_MS - 60_000
) -> list[Fill]:
    """Fills of one coin, a second apart: by how much the position changes, and what it brings."""
    made = []
    for number, (size, pnl) in enumerate(moves):
        time_ms = at_ms + 1000 * number
        made.append(
            Fill(
                "BTC",
                "BUY" if size > 0 else "SELL",
                Decimal(100),
                Decimal(abs(size)),
                Decimal(100 * abs(size)),
                time_ms,
                f"h:{time_ms}:BTC:{next(numbers)}:{address}",
                address,
                "Open Long",
                Decimal(pnl),
                Decimal(0),
                "USDC",
                True,
                "0x0",
                start_position=Decimal(start),
            )
        )
        start += size
    return made


ROUND_TRIPS = ((1, 0), (-1, 5), (1, 0), (-1, -2), (1, 0), (-1, 5))
"""Two winning trips, and a losing one."""


def rows(made: Sequence[Fill]) -> list[dict[str, Any]]:
    """The same fills as `userFillsByTime` tells them, newest first."""
    return [
        {
            "coin": fill.symbol,
            "px": str(fill.price),
            "sz": str(fill.quantity),
            "side": "B" if fill.side == "BUY" else "A",
            "time": fill.time_ms,
            "startPosition": str(fill.start_position),
            "dir": fill.dir,
            "closedPnl": str(fill.pnl),
            "fee": "0.0",
            "feeToken": "USDC",
            "tid": int(fill.id.split(":")[3]),
        }
        for fill in reversed(made)
    ]


PORTFOLIO = [
    [
        "perpAllTime",
        {
            "accountValueHistory": [[1, "1000"], [2, "1200"], [3, "600"], [4, "540"]],
            "pnlHistory": [[1, "0"], [2, "200"], [3, "200"], [4, "140"]],
            "vlm": "12345.5",
        },
    ],
    [
        "allTime",
        {"accountValueHistory": [[NOW_MS - 400 * DAY_MS, "0"]], "pnlHistory": [], "vlm": "9"},
    ],
]


def info(known: dict[str, Sequence[Fill]], portfolio: Any = PORTFOLIO) -> Any:
    """Answers `portfolio` and `userFillsByTime`, at most a page of the oldest."""

    def answer(request: testing.Request) -> Any:
        asked = request.json
        if asked["type"] == "portfolio":
            return portfolio
        since = [
            fill for fill in known.get(asked["user"], []) if fill.time_ms >= asked["startTime"]
        ]
        return rows(since[:PAGE])

    return answer


class Bench:
    """The transform between its streams; `rest` answers at `/info`."""

    def __init__(self, answer: Any = None, **config: Any) -> None:
        settings: dict[str, Any] = {"enrich_weight_per_min": 0, "info_url": URL}
        self.config = Config(**settings | config)
        self.positions = testing.stream("positions", record=PositionEvent)
        self.traders = testing.stream("traders", record=Trader)
        self.accounts = testing.stream("positions.accounts", record=Account)
        self.fills: Stream[Fill] | None = testing.stream("all-fills", record=Fill)
        self.rest = testing.rest({"/info": answer})
        self.feed = self.new_feed()
        self.places: dict[str, int] = {}

    def new_feed(self) -> ScriptedFeed[Standing]:
        return testing.feed(record=Standing, name="leaderboard", rest=self.rest)

    def trader(self, *known: Trader) -> None:
        for one in known:
            self.traders.append(one, key=one.address)

    def account(self, *known: Account) -> None:
        for one in known:
            self.accounts.append(one, key=one.address)

    def fill(self, *known: Fill) -> None:
        assert self.fills is not None
        for one in known:
            self.fills.append(one)

    @asynccontextmanager
    async def running(self) -> Any:
        inputs: list[Stream[Any]] = [self.positions, self.traders, self.accounts]
        inputs += [] if self.fills is None else [self.fills]
        streams = testing.streams(*inputs, places=self.places)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaderboard, self.config, streams, self.feed)
            yield
            nursery.cancel_scope.cancel()

    def row(self, address: str) -> Standing:
        found = self.feed.get(address)
        assert found is not None
        return found

    def asked(self, kind: str) -> list[Any]:
        found = [request.json for request in self.rest.requests]
        return [one for one in found if one["type"] == kind]


@frozen
class Sampled:
    """As `positions.equity` has it: what was sampled, also of later than our first look."""

    address: str

    @property
    def samples(self) -> list[tuple[int, Decimal]]:
        equities = (1000, 500, 1)
        return [(NOW_MS - 2 + at, Decimal(equity)) for at, equity in enumerate(equities)]


# -- standings --


async def test_what_streams_tell_becomes_standings(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.trader(trader(A), trader(B))
    bench.account(account(A, 1000, pnl=7))
    bench.fill(*fills(A, *ROUND_TRIPS))

    async with bench.running():
        await trio.sleep(1)
        bench.account(account(A, 900, NOW_MS + 1, pnl=7))
        await trio.sleep(20)

    row = bench.row(A)
    assert (row.rank, row.population, row.trips, row.partial_trips) == (1, 1, 3, 0)
    assert row.win_rate == pytest.approx(2 / 3)
    assert row.win_rate_source == "fills"
    assert (row.risk_ratio, row.max_profit, row.max_loss) == (2.5, 5, 2)
    assert (row.volume, row.volume_source) == (600, "fills")
    assert row.max_drawdown == pytest.approx(0.1)
    assert row.max_drawdown_source == "account_value"
    assert (row.account_age_days, row.account_age_source) == (3, "trades")
    assert (row.equity, row.unrealized_pnl, row.tracked_ms) == (900, 14, NOW_MS + 1)
    assert row.score == 0.25
    assert row.shares is not None
    assert row.shares.max_drawdown == 0.25
    other = bench.row(B)
    assert (other.rank, other.score, other.shares, other.population) == (None, None, None, 1)
    assert (other.volume, other.volume_source) == (100, "trades")
    assert (other.win_rate, other.max_drawdown, other.equity, other.max_profit) == (None,) * 4


async def test_all_rows_are_of_one_computation(autojump_clock: Clock) -> None:
    bench = Bench()
    for address in (A, B, C):
        bench.fill(*fills(address, *ROUND_TRIPS))

    async with bench.running():
        await trio.sleep(20)

    found = [bench.row(address) for address in (A, B, C)]
    (computed,) = bench.feed.tables["computed"].after(0)
    assert {row.time_ms for row in found} == {computed.value.time_ms}
    assert {row.population for row in found} == {computed.value.population} == {3}
    assert [row.rank for row in found] == [1, 2, 3]


async def test_only_what_changed_is_published_again(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.trader(trader(A), trader(B))
    async with bench.running():
        await trio.sleep(20)
        before = bench.feed.stream.seq

        bench.trader(trader(A, volume=200))
        await trio.sleep(600)

    assert bench.feed.stream.seq == before + 1
    assert bench.row(A).volume == 200
    assert bench.feed.stream.newest_record is not None
    assert bench.row(A).time_ms > bench.row(B).time_ms
    assert len(bench.feed.tables["computed"].after(0)) == 1


async def test_who_is_not_known_any_more_is_forgotten(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.trader(trader(A), trader(B))
    async with bench.running():
        await trio.sleep(20)

        bench.traders.forget(B)
        await trio.sleep(600)

    assert {record.key for record in bench.feed.records()} == {A}


async def test_of_too_many_those_who_are_compared_and_who_trade_most_are_listed(
    autojump_clock: Clock,
) -> None:
    bench = Bench()
    bench.feed = testing.feed(record=Standing, name="leaderboard", retain=2)
    bench.trader(trader(A, volume=7000), trader(B, volume=9000))
    bench.fill(*fills(C, *ROUND_TRIPS))

    async with bench.running():
        await trio.sleep(20)

    assert {record.key for record in bench.feed.records()} == {B, C}
    (computed,) = bench.feed.tables["computed"].after(0)
    assert (computed.value.listed, computed.value.unlisted) == (2, 1)


async def test_min_trips_decides_who_is_compared(autojump_clock: Clock) -> None:
    bench = Bench(min_trips=4)
    bench.fill(*fills(A, *ROUND_TRIPS))

    async with bench.running():
        await trio.sleep(20)

    assert (bench.row(A).rank, bench.row(A).trips) == (None, 3)


async def test_a_daemon_without_further_streams_has_an_empty_leaderboard(
    autojump_clock: Clock,
) -> None:
    feed: ScriptedFeed[Standing] = testing.feed(record=Standing)
    positions = testing.stream("positions", record=PositionEvent)

    async with trio.open_nursery() as nursery:
        config = Config(enrich_weight_per_min=0)
        nursery.start_soon(leaderboard, config, testing.streams(positions), feed)
        await trio.sleep(1000)
        positions.close()

    assert feed.values == []
    assert len(feed.tables["computed"].after(0)) == 1


async def test_without_any_stream_it_says_which_it_would_read() -> None:
    with pytest.raises(UserError, match=r"there is none of the streams .* all-fills"):
        await leaderboard(Config(), testing.streams(), testing.feed(record=Standing))


async def test_fills_alone_are_enough(autojump_clock: Clock) -> None:
    feed: ScriptedFeed[Standing] = testing.feed(record=Standing)
    known = testing.stream("all-fills", fills(A, *ROUND_TRIPS), record=Fill)

    async with trio.open_nursery() as nursery:
        config = Config(enrich_weight_per_min=0)
        nursery.start_soon(leaderboard, config, testing.streams(known), feed)
        await trio.sleep(20)
        known.close()

    (row,) = feed.values
    assert (row.address, row.trips, row.rank) == (A, 3, 1)


async def test_it_ends_with_its_inputs_and_has_saved_what_came(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.fill(*fills(A, *ROUND_TRIPS))

    async with bench.running():
        await trio.sleep(0.5)
        for stream in (bench.positions, bench.traders, bench.accounts, bench.fills):
            assert stream is not None
            stream.close()
        await trio.sleep(1)

    assert bench.places["all-fills"] == 6
    assert len(bench.feed.tables["trips"].after(0)) == 1


# -- each fill once --


@pytest.mark.parametrize("at", range(1, 13))
async def test_a_restart_at_any_moment_neither_loses_a_fill_nor_counts_one_twice(
    autojump_clock: Clock, at: int
) -> None:
    bench = Bench()
    made = fills(A, *ROUND_TRIPS, *ROUND_TRIPS)
    async with bench.running():
        await trio.sleep(0.5)
        for number, fill in enumerate(made[:at]):
            bench.fill(fill)
            await trio.sleep(0.7 * (number % 3))

    async with bench.running():
        bench.fill(*made[at:])
        await trio.sleep(20)

    row = bench.row(A)
    assert (row.trips, row.partial_trips, row.volume) == (6, 0, 1200)


async def test_drawdown_goes_on_after_a_restart(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.account(account(A, 1000))
    async with bench.running():
        await trio.sleep(1)
        bench.account(account(A, 700, NOW_MS + 1))
        await trio.sleep(20)

    async with bench.running():
        bench.account(account(A, 800, NOW_MS + 2))
        await trio.sleep(20)

    assert bench.row(A).max_drawdown == pytest.approx(0.3)


async def test_what_was_sampled_before_is_part_of_the_drawdown(autojump_clock: Clock) -> None:
    bench = Bench()
    bench.account(account(A, 600))
    equity = testing.stream("positions.equity")
    equity.append(Sampled(A), key=A)

    streams = testing.streams(bench.positions, bench.accounts, equity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaderboard, bench.config, streams, bench.feed)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert bench.row(A).max_drawdown == pytest.approx(0.5)


# -- what is asked for --


async def test_what_streams_do_not_tell_is_asked_for(autojump_clock: Clock) -> None:
    bench = Bench(
        info({A: fills(A, *ROUND_TRIPS, at_ms=NOW_MS - DAY_MS)}), enrich_weight_per_min=200
    )
    bench.fills = None
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(700)

    row = bench.row(A)
    assert (row.volume, row.volume_source) == (Decimal("12345.5"), "portfolio")
    assert row.max_drawdown == pytest.approx(0.1)
    assert row.max_drawdown_source == "portfolio"
    assert (row.account_age_days, row.account_age_source) == (400, "portfolio")
    assert (row.trips, row.win_rate_source, row.rank) == (3, "fills", 1)


async def test_who_traded_most_is_asked_about_first_and_nobody_twice_a_day(
    autojump_clock: Clock,
) -> None:
    bench = Bench(info({}), enrich_weight_per_min=200)
    bench.trader(trader(A, 10), trader(B, 30), trader(C, 20))

    async with bench.running():
        await trio.sleep(DAY_S - 60)
        first = [one["user"] for one in bench.asked("portfolio")]
        await trio.sleep(3600)

    assert first == [B, C, A]
    assert [one["user"] for one in bench.asked("portfolio")] == [B, C, A] * 2


async def test_who_traded_much_since_is_asked_about_again_before(autojump_clock: Clock) -> None:
    bench = Bench(info({}), enrich_weight_per_min=200)
    bench.trader(trader(A, 10), trader(B, 10))

    async with bench.running():
        await trio.sleep(60)
        bench.trader(trader(A, 25), trader(B, 15))
        await trio.sleep(3000)
        early = len(bench.asked("portfolio"))
        await trio.sleep(3 * 3600)

    assert early == 2
    assert [one["user"] for one in bench.asked("portfolio")][2:] == [A]


async def test_who_changed_positions_much_is_asked_about_again_before(
    autojump_clock: Clock,
) -> None:
    bench = Bench(info({}), enrich_weight_per_min=200)
    bench.trader(trader(A, 10), trader(B, 10))

    async with bench.running():
        await trio.sleep(60)
        bench.positions.append(changed(A, 11))
        await trio.sleep(2 * 3600)

    assert [one["user"] for one in bench.asked("portfolio")][2:] == [A]


async def test_pages_overlap_by_a_millisecond_and_count_once(autojump_clock: Clock) -> None:
    made = fills(A, *((1, 0), (-1, 5)) * (PAGE + 1), at_ms=NOW_MS - 30 * DAY_MS)
    # The end of the first page lies within a millisecond.
    same = [evolve(made[PAGE], time_ms=made[PAGE - 1].time_ms)]
    made = [*made[:PAGE], *same, *made[PAGE + 1 :]]
    bench = Bench(info({A: made}), enrich_weight_per_min=200)
    bench.fills = None
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(700)

    row = bench.row(A)
    assert (row.trips, row.partial_trips) == (PAGE + 1, 0)
    starts = [one["startTime"] for one in bench.asked("userFillsByTime")]
    assert starts == [0, made[PAGE - 1].time_ms, made[2 * PAGE - 2].time_ms]


async def test_without_a_stream_of_fills_the_next_answer_goes_on_where_the_last_ended(
    autojump_clock: Clock,
) -> None:
    known: dict[str, Sequence[Fill]] = {A: fills(A, *ROUND_TRIPS, (1, 0))}
    bench = Bench(info(known), enrich_weight_per_min=200)
    bench.fills = None
    bench.trader(trader(A))
    async with bench.running():
        await trio.sleep(700)
        known[A] = [*known[A], *fills(A, (-1, 9), start=1, at_ms=NOW_MS + DAY_MS)]
        await trio.sleep(DAY_S + 1200)

    assert (bench.row(A).trips, bench.row(A).partial_trips) == (4, 0)
    assert bench.row(A).max_profit == 9
    assert bench.asked("userFillsByTime")[-1]["startTime"] == NOW_MS - 54_000


async def test_past_and_live_fills_are_one_history(autojump_clock: Clock) -> None:
    past = fills(A, *ROUND_TRIPS, (1, 0), (1, 0), at_ms=NOW_MS - DAY_MS)
    live = fills(A, (-2, 11), start=2, at_ms=NOW_MS + 60_000)
    bench = Bench(info({A: past}), enrich_weight_per_min=200)
    bench.trader(trader(A))
    # Of this account the stream told the last fill, and tells it again.
    bench.fill(past[-1])

    async with bench.running():
        await trio.sleep(30)
        bench.fill(past[-1], *live)
        await trio.sleep(DAY_S + 1200)

    row = bench.row(A)
    assert (row.trips, row.partial_trips, row.max_profit) == (4, 0, 11)
    assert len(bench.asked("userFillsByTime")) == 1
    assert len(bench.asked("portfolio")) == 2


async def test_fills_that_come_while_the_past_is_asked_for_are_not_lost(
    autojump_clock: Clock,
) -> None:
    past = fills(A, *ROUND_TRIPS, (1, 0), at_ms=NOW_MS - DAY_MS)
    bench = Bench(None, enrich_weight_per_min=200)
    answer = info({A: past})

    def meanwhile(request: testing.Request) -> Any:
        if request.json["type"] == "userFillsByTime":
            bench.fill(*fills(A, (1, 0), (-2, 8), start=1, at_ms=NOW_MS))
        return answer(request)

    bench.rest = testing.rest({"/info": meanwhile})
    bench.feed = bench.new_feed()
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(700)

    assert (bench.row(A).trips, bench.row(A).partial_trips) == (4, 0)


async def test_an_answer_that_is_behind_the_stream_changes_nothing(autojump_clock: Clock) -> None:
    bench = Bench(
        info({A: fills(A, *ROUND_TRIPS, at_ms=1_600_000_000_000)}), enrich_weight_per_min=200
    )
    bench.trader(trader(A))
    bench.fill(*fills(A, (1, 0), (-1, 4)))

    async with bench.running():
        await trio.sleep(300)

    assert bench.feed.tally.figures["asked"] == 0
    assert bench.row(A).trips == 1


@pytest.mark.parametrize(
    "failure",
    [
        testing.Reply(429, "slow down", {"Retry-After": "20"}),
        testing.Reply(500, "no"),
        "<html>502 Bad Gateway</html>",
        b'[["perpAllTime", {"accountValueHi',
        OSError("reset"),
        testing.SILENT,
        [],
        {"error": "what"},
        None,
    ],
    ids=["429", "500", "html", "truncated", "reset", "silence", "empty", "no list", "null"],
)
async def test_what_fails_is_asked_again_later_and_loses_nothing(
    autojump_clock: Clock, failure: Any
) -> None:
    answer = info({A: fills(A, *ROUND_TRIPS, at_ms=NOW_MS - DAY_MS)})
    broken = True

    def sometimes(request: testing.Request) -> Any:
        return failure if broken else answer(request)

    bench = Bench(sometimes, enrich_weight_per_min=200)
    bench.fills = None
    bench.trader(trader(A))
    async with bench.running():
        await trio.sleep(640)
        before = bench.row(A)

        broken = False
        await trio.sleep(2000)

    assert (before.volume_source, before.trips) == ("trades", 0)
    assert bench.row(A).trips == 3


async def test_one_account_that_is_not_told_of_is_no_trouble_of_the_services(
    autojump_clock: Clock,
) -> None:
    bench = Bench("<html>", enrich_weight_per_min=200)
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(300)

    assert bench.feed.tally.dropped["an account's past was not told"] == 1
    assert bench.feed.tally.problem is None


async def test_when_no_account_is_told_of_it_is_said_until_one_is(autojump_clock: Clock) -> None:
    broken, answer = True, info({})
    bench = Bench(
        lambda request: "<html>" if broken else answer(request), enrich_weight_per_min=200
    )
    bench.trader(trader(A), trader(B), trader(C))

    async with bench.running():
        await trio.sleep(640)
        told = bench.feed.tally.problem
        broken = False
        await trio.sleep(1300)

    assert told is not None
    assert "does not tell accounts' pasts" in told
    assert bench.feed.tally.problem is None


async def test_a_failure_between_pages_changes_nothing(autojump_clock: Clock) -> None:
    made = fills(A, *((1, 0), (-1, 5)) * PAGE, at_ms=NOW_MS - 30 * DAY_MS)
    answer = info({A: made})

    def first_page_only(request: testing.Request) -> Any:
        return "<html>" if request.json.get("startTime") else answer(request)

    bench = Bench(first_page_only, enrich_weight_per_min=200)
    bench.fills = None
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(700)

    assert bench.row(A).trips == 0
    assert bench.row(A).volume_source == "trades"
    assert len(bench.feed.tables["trips"].after(0)) == 0


async def test_no_more_than_its_share_is_spent(autojump_clock: Clock) -> None:
    weights: list[tuple[float, int]] = []
    answer = info({})

    def weighed(request: testing.Request) -> Any:
        weights.append((trio.current_time(), 20))
        return answer(request)

    bench = Bench(weighed, enrich_weight_per_min=140)
    bench.trader(*[trader(f"0x{number:040x}", number + 1) for number in range(30)])

    async with bench.running():
        await trio.sleep(1200)

    assert len(weights) >= 38
    for begin, _ in weights:
        assert sum(weight for at, weight in weights if begin <= at < begin + 60) <= 140


async def test_nothing_is_asked_when_that_is_off(autojump_clock: Clock) -> None:
    bench = Bench(info({}))
    bench.trader(trader(A))

    async with bench.running():
        await trio.sleep(2000)

    assert bench.rest.requests == []


async def test_what_was_told_is_kept_over_a_restart(autojump_clock: Clock) -> None:
    bench = Bench(info({A: fills(A, *ROUND_TRIPS)}), enrich_weight_per_min=200)
    bench.fills = None
    bench.trader(trader(A))
    async with bench.running():
        await trio.sleep(100)
    asked = len(bench.rest.requests)

    async with bench.running():
        await trio.sleep(700)

    assert len(bench.rest.requests) == asked == 2
    assert (bench.row(A).trips, bench.row(A).volume_source) == (3, "portfolio")


# -- portfolios --


def test_a_recorded_portfolio_without_windows_of_perpetuals() -> None:
    recorded = json.loads((FRAMES / "hyperliquid_portfolio_2025.json").read_text())

    found = read(recorded, A, 7)

    assert found == Portfolio(A, 7, None, 1683758700034, None)


def test_the_month_tells_the_drawdown_where_all_time_does_not() -> None:
    whole = dict(PORTFOLIO)["perpAllTime"]
    bare = {**whole, "accountValueHistory": whole["accountValueHistory"][:1]}

    found = read([["perpAllTime", bare], ["perpMonth", whole]], A, 7)

    assert found.max_drawdown == pytest.approx(0.1)
    assert found.volume == Decimal("12345.5")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        [["perpAllTime"]],
        [["perpAllTime", {"vlm": 3}]],
        [["perpAllTime", {"accountValueHistory": "x"}]],
        [["perpAllTime", {"accountValueHistory": [[1]]}]],
        [["perpAllTime", {"accountValueHistory": [["1", "2"]]}]],
        [["allTime", {"accountValueHistory": [[1, "NaN"]]}]],
    ],
    ids=repr,
)
def test_what_is_no_portfolio(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"no|expected"):
        read(answer, A, 7)


def test_of_too_many_portfolios_the_oldest_is_dropped() -> None:
    table = testing.feed().table("portfolios", Portfolio)
    kept = Portfolios(table, kept_max=2)

    for address in (A, B, A, C):
        kept.put(Portfolio(address, 1, None, None, None))

    assert list(kept) == [A, C]
    assert {record.key for record in table.after(0)} == {A, C}


# -- settings --


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"every": Seconds(1)}, "at least 10s"),
        ({"min_trips": 0}, "at least 1"),
        ({"enrich_weight_per_min": 50}, "0 for off, or 140 to 1200"),
        ({"enrich_weight_per_min": 5000}, "0 for off, or 140 to 1200"),
        ({"info_url": "ftp://x"}, "expected an address such as"),
    ],
    ids=repr,
)
def test_settings_that_cannot_be(settings: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Config(**settings)


def test_weights_may_be_chosen() -> None:
    assert Config(weights=Weights(1, 0, 0, 0, 0)).weights.each == [1, 0, 0, 0, 0]


def test_the_kind_is_offered() -> None:
    (kind,) = flowd_leaderboard.flowd_transforms()

    assert kind.kind == "leaderboard"
