"""The simulated chain: what accounts own and hold agrees with the fills that are told of them, to
the millionth of a dollar, and prices are those of the one simulated market.
"""

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from flowd_simulator.chain.accounts import FILLS_KEPT, FILLS_KEPT_MOST, MAKERS, Account
from flowd_simulator.chain.coins import BY_NAME, PERPETUALS
from flowd_simulator.chain.past import NO_PAST, Past
from flowd_simulator.chain.positions import Position, liquidation_price
from flowd_simulator.chain.rows import Row
from flowd_simulator.chain.series import POINTS_MAX, Point, Series
from flowd_simulator.chain.tape import Tape
from flowd_simulator.market import Market
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing

START_MS = testing.START_MS
MICRO = 1_000_000

trades = st.lists(
    st.tuples(
        st.integers(-1000, 1000).filter(bool), st.integers(1, 10**9), st.integers(-(10**9), 10**9)
    ),
    min_size=1,
    max_size=30,
)


def run(seconds: float, *, past: Past | None = None, fills_per_s: float = 100.0) -> "Ledger":
    ledger = Ledger(Tape(7, fills_per_s, past=past))
    for number in range(round(seconds * 10)):
        ledger.rows += ledger.tape.block(START_MS + number * 100, 0.1).rows
    return ledger


class Ledger:
    """A tape and all that it told."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.rows: list[Row] = []

    @property
    def accounts(self) -> dict[str, Account]:
        return self.tape.accounts.known

    def fills(self) -> dict[str, list[dict[str, Any]]]:
        """Of perpetuals, by account."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for one in self.rows:
            if not BY_NAME[one.coin].spot:
                found[one.address].append(one.fill)
        return found


@pytest.fixture(scope="module")
def told() -> "Ledger":
    """Five minutes of a chain without a past, so that all there ever was is told."""
    return run(300, past=NO_PAST)


def micro(text: str) -> int:
    return int(Decimal(text) * MICRO)


def owned(account: Account) -> int:
    return account.cash + sum(position.purse for position in account.positions.values())


# -- positions --


@given(trades, st.integers(1, 50), st.booleans())
def test_no_trade_makes_or_loses_a_millionth(
    made: list[tuple[int, int, int]], leverage: int, isolated: bool
) -> None:
    position = Position(50, leverage=leverage, isolated=isolated)
    cash = profit = held = paid = funding = 0

    for steps, worth, index in made:
        funding += position.pay_funding(index)
        change = position.trade(steps, worth)
        assert change.before == held
        held += steps
        cash += change.freed
        profit += change.profit
        paid += steps * worth

        assert position.steps == held
        assert profit - position.cost == -paid
        lost = 0 if not isolated else funding
        assert cash + position.purse == -paid - lost
        assert (position.steps == 0) <= (position.cost == 0 == position.purse)
        assert position.cost * position.steps >= 0


def test_an_isolated_position_is_liquidated_where_hyperliquid_says() -> None:
    # The example account of Hyperliquid's documentation.
    position = Position(50, steps=335, purse=-95_059_824, leverage=20, isolated=True)
    worth = 298_590

    value = position.value(worth)
    margin = position.margin(worth)
    available = margin - position.maintenance(worth)
    found = liquidation_price(position, worth / 100, value, available)

    assert (value, margin) == (100_027_650, 4_967_826)
    assert found == pytest.approx(2866.26936529, abs=1e-4)


@given(
    st.integers(-(10**6), 10**6).filter(bool),
    st.integers(10**3, 10**6),
    st.integers(-(10**9), 10**12),
)
def test_at_its_liquidation_price_nothing_is_left_above_maintenance(
    steps: int, worth: int, purse: int
) -> None:
    position = Position(20, steps=steps, purse=purse, isolated=True)
    available = purse + position.value(worth) - position.maintenance(worth)

    found = liquidation_price(position, float(worth), position.value(worth), available)

    if found is None:
        assert purse * steps >= 0 or abs(purse) < 2
    else:
        left = purse + steps * found - abs(steps * found) / 40
        assert left == pytest.approx(0, abs=1e-6 * (abs(purse) + abs(steps * worth)) + 2)


# -- accounts --


def test_the_sum_of_an_accounts_fills_is_its_position(told: Ledger) -> None:
    for address, fills in told.fills().items():
        held: dict[str, Decimal] = defaultdict(Decimal)
        for fill in fills:
            assert Decimal(fill["startPosition"]) == held[fill["coin"]]
            held[fill["coin"]] += Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1)

        account = told.accounts[address]
        for coin in PERPETUALS:
            assert coin.size_text(account.held(coin)) == coin.size_text(
                int(held[coin.name].scaleb(coin.size_decimals))
            )


def test_the_word_of_a_fill_says_what_it_does(told: Ledger) -> None:
    plain = [one.fill for one in told.rows if not BY_NAME[one.coin].spot]
    for fill in plain:
        before = Decimal(fill["startPosition"])
        after = before + Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1)
        word = fill["dir"]
        if " > " in word:
            assert before * after < 0
        elif word.startswith("Open"):
            assert abs(after) > abs(before)
            assert before * after >= 0
        elif word.startswith("Close"):
            assert abs(after) < abs(before)
        assert (Decimal(fill["closedPnl"]) == 0) or not word.startswith("Open")


def test_equity_is_deposits_and_profits_without_fees_and_funding(told: Ledger) -> None:
    marks = told.tape.marks
    for address, fills in told.fills().items():
        account = told.accounts[address]
        unrealised = sum(position.unrealised(marks[coin.name]) for coin, position in account.open())

        assert account.realised == sum(micro(fill["closedPnl"]) for fill in fills)
        assert account.fees == sum(micro(fill["fee"]) for fill in fills)
        assert account.equity(marks) == (
            account.deposits + account.realised + unrealised - account.fees - account.funding
        )
        assert owned(account) == account.equity(marks) - sum(
            position.value(marks[coin.name]) for coin, position in account.open()
        )


def test_what_longs_hold_is_what_shorts_hold(told: Ledger) -> None:
    for coin in PERPETUALS:
        held = [account.held(coin) for account in told.accounts.values()]

        assert sum(held) == 0
        assert sum(max(0, steps) for steps in held) == told.tape.turnover.interest[coin.name] > 0


def test_who_is_liquidated_had_too_little_left_at_the_mark() -> None:
    ledger = run(0)
    tape = ledger.tape
    tape.begin(START_MS)
    seen = 0
    for number in range(300):
        before = {
            (account.address, coin.name): (account, coin, position.steps)
            for account in tape.accounts.known.values()
            for coin, position in account.open()
        }
        block = tape.block(START_MS + number * 500, 0.5)
        forced = {
            (one.address, one.coin)
            for one in block.rows
            if one.forced and "-" not in one.fill["dir"]
        }
        for place in forced:
            account, coin, steps = before[place]
            (first, *_) = [r.fill for r in block.rows if (r.address, r.coin) == place and r.forced]
            assert first["side"] == ("A" if steps > 0 else "B")
            if "liquidation" in first:
                mark = tape.marks[coin.name] // coin.micro
                assert first["liquidation"]["markPx"] == coin.price_text(mark)
                assert account.held(coin) * steps <= 0
                seen += 1

    assert seen > 20


def test_funding_moves_from_one_side_to_the_other() -> None:
    ledger = run(2)
    tape = ledger.tape

    for hour in range(1, 4):
        tape.block(START_MS + hour * 3_600_000, 1.0)
    for account in ledger.accounts.values():
        account.pay_funding(tape.prices, (START_MS + 3 * 3_600_000) // 3_600_000)

    paid = [account.funding for account in ledger.accounts.values()]
    assert max(paid) > 0 > min(paid)
    assert abs(sum(paid)) < 1e-3 * sum(map(abs, paid)) + len(paid) * 100


# -- prices --


def test_fills_have_the_prices_of_the_market_that_binance_has() -> None:
    market = Market(7, rate=60.0)
    tape = Tape(7, 100.0, market=market)

    rows = [one for n in range(50) for one in tape.block(START_MS + n * 100, 0.1).rows]

    for one in rows:
        coin = BY_NAME[one.coin]
        if coin.symbol in market.instruments:
            price = market.price(coin.symbol, one.fill["time"])
            assert float(one.fill["px"]) == pytest.approx(price, rel=2e-3)


# -- the past, and how much is remembered --


def test_the_same_seed_has_the_same_past() -> None:
    one, other = Tape(7), Tape(7)

    one.begin(START_MS)
    other.begin(START_MS)
    rows = list(one.past_rows)
    one.begin(START_MS)

    assert [each.json for each in rows] == [each.json for each in other.past_rows]
    assert one.past_rows == rows
    times = [each.fill["time"] for each in rows]
    assert times == sorted(times)
    assert times[-1] <= START_MS
    assert times[0] >= START_MS - 86_400_000


def test_a_past_leaves_nobody_who_should_have_been_liquidated() -> None:
    tape = Tape(7, past=Past(days=3, orders=600))

    tape.begin(START_MS)

    for account in tape.accounts.known.values():
        for coin, _ in account.open():
            assert account.available(coin, tape.marks) > 0


def test_memory_is_bounded(told: Ledger) -> None:
    kept = sorted(len(account.rows) for account in told.accounts.values())

    assert kept[-1] <= FILLS_KEPT_MOST
    assert kept[-MAKERS - 2] <= FILLS_KEPT
    newest: dict[str, bytes] = {one.address: one.json for one in told.rows}
    for address, text in newest.items():
        assert told.accounts[address].rows[-1] == text
        assert json.loads(text)[0] == address


def test_a_series_keeps_its_ends_and_thins_out_its_beginning() -> None:
    series = Series()

    for number in range(10 * POINTS_MAX):
        series.add(Point(number, 0, 0, 0, 0))

    times = [point.time_ms for point in series.points]
    assert len(times) <= POINTS_MAX
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-20:] == list(range(10 * POINTS_MAX - 20, 10 * POINTS_MAX))
