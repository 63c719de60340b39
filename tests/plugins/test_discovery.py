"""Who trades on Hyperliquid: the table of traders, what counts, who makes room, and crashes."""

from collections.abc import Iterable
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import flowd_hyperliquid
import pytest
import trio
from attrs import evolve, frozen
from flowd_hyperliquid.census import Counted
from flowd_hyperliquid.discovery import Config, discover
from flowd_hyperliquid.parse import message
from flowd_hyperliquid.parse import trade as made
from trio.testing import MockClock

from flowd import testing
from flowd.market import Fill, Trade
from flowd.plugin import Feed, Source, Stream
from flowd.setup.config import parse
from flowd.setup.machine import Machine
from flowd.setup.warm import Warm
from flowd.stream.volatile import MemoryStore
from flowd.traders import Account, OpenPosition, Trader
from flowd.values.errors import UserError
from tests.plugins.discovery_kit import (
    REGISTRY,
    T0,
    TOML,
    account,
    exchange,
    feed,
    frames,
    sent,
    told,
)

Nursery = trio.Nursery
ZERO = "0x" + "0" * 40


def pair(buyer: int, seller: int) -> list[str]:
    return [account(buyer), account(seller)]


def fill(number: int, address: int, symbol: str = "BTC", notional: int = 100) -> Fill:
    return Fill(
        symbol,
        "BUY",
        Decimal(notional),
        Decimal(1),
        Decimal(notional),
        T0 + number,
        f"h:{number}:{address}",
        account(address),
        "Open Long",
        Decimal(0),
        Decimal(0),
        "USDC",
        True,
        "0x",
    )


def holding(address: int, *, open: bool = True) -> Account:
    zero = Decimal(0)
    position = OpenPosition("BTC", Decimal(1), zero, zero, zero, None, 10, False, zero)
    positions = (position,) if open else ()
    return Account(account(address), "hyperliquid", T0, zero, zero, zero, zero, positions)


def table(source: Any) -> dict[str, Trader]:
    return {trader.address: trader for trader in source.values}


def numbers(source: Any) -> list[int]:
    """Who is in the table, by number."""
    return sorted(int(address, 16) for address in table(source))


async def seen(
    nursery: Nursery, *messages: str, streams: Iterable[Stream[Any]] = (), **settings: Any
) -> Any:
    """A feed of which these messages were counted."""
    source = feed(exchange() + testing.waits(1) + testing.says(*messages))
    config = Config(settings.pop("coins", ["BTC"]), **settings)
    nursery.start_soon(discover, config, testing.streams(*streams), source)
    await trio.sleep(10)
    return source


# -- the table


async def test_both_sides_of_a_trade_are_traders(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = await seen(nursery, told(sent(0), sent(5, sz="1", users=pair(1, 3))))

    assert table(source)[account(1)] == Trader(
        address=account(1),
        venue="hyperliquid",
        first_seen_ms=T0,
        last_seen_ms=T0 + 500,
        volume=Decimal(350),
        trades=2,
        symbols=("BTC",),
    )
    assert [table(source)[account(n)].volume for n in (2, 3)] == [Decimal(250), Decimal(100)]
    assert source.tally.figures["traders"] == 3
    nursery.cancel_scope.cancel()


async def test_what_a_trader_trades_is_in_alphabetical_order(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    coins = ["ETH", "BTC", "@107"]
    messages = [told(sent(number, coin=coin)) for number, coin in enumerate(coins)]

    source = await seen(nursery, *messages, coins=coins)

    assert table(source)[account(1)].symbols == ("@107", "BTC", "ETH")
    nursery.cancel_scope.cancel()


async def test_who_trades_with_itself_has_traded_once(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = await seen(nursery, told(sent(users=pair(1, 1))))

    (trader,) = source.values
    assert (trader.trades, trader.volume) == (1, Decimal(250))
    nursery.cancel_scope.cancel()


async def test_addresses_are_one_whatever_their_case(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    upper, lower = "0x" + "AB" * 20, "0x" + "ab" * 20

    source = await seen(
        nursery, told(sent(1, users=[upper, account(1)])), told(sent(2, users=[account(1), lower]))
    )

    assert list(table(source)) == [account(1), lower]
    assert {trader.trades for trader in source.values} == {2}
    nursery.cancel_scope.cancel()


async def test_nobody_the_excluded_and_what_is_no_address_are_no_traders(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    vault = "0x" + "cd" * 20
    users = [[ZERO, account(1)], [vault, account(2)], ["0x12", account(3)]]
    messages = [told(sent(number, users=one)) for number, one in enumerate(users)]

    source = await seen(nursery, *messages, exclude=[vault.upper().replace("X", "x")])

    assert numbers(source) == [1, 2, 3]
    nursery.cancel_scope.cancel()


async def test_old_trades_count_like_any(autojump_clock: MockClock, nursery: Nursery) -> None:
    source = feed(exchange({"BTC": [sent(0), sent(1)]}))
    nursery.start_soon(discover, Config(["BTC"]), testing.streams(), source)

    await trio.sleep(5)

    assert table(source)[account(1)].trades == 2
    nursery.cancel_scope.cancel()


async def test_trades_of_nobody_are_published_and_found_nobody(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = await seen(nursery, *frames("trades_2024_no_users"), coins=["BTC", "FXS"])

    assert source.tables["trades"].seq == 6
    assert source.values == []
    nursery.cancel_scope.cancel()


async def test_an_account_is_written_once_a_second_at_most(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    async def busy(connection: testing.Connection) -> None:
        for number in range(100):
            await trio.sleep(0.1)
            await connection.say(told(sent(number)))

    source = feed(exchange() + testing.plays(busy))
    nursery.start_soon(discover, Config(["BTC"]), testing.streams(), source)

    await trio.sleep(12)

    assert table(source)[account(1)].trades == 100
    assert source.tally.published <= 2 * 12
    nursery.cancel_scope.cancel()


async def test_what_is_left_is_counted_when_the_run_ends(autojump_clock: MockClock) -> None:
    source = feed(exchange() + testing.waits(1.3) + testing.says(told(sent(0), sent(1))))

    with trio.move_on_after(1.4):
        await discover(Config(["BTC"]), testing.streams(), source)

    assert table(source)[account(1)].trades == 2
    with trio.move_on_after(5):
        await discover(Config(["BTC"]), testing.streams(), source)
    assert table(source)[account(1)].trades == 2


# -- fills


async def test_fills_of_other_coins_count_and_those_of_followed_coins_only_show_who_is_there(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    fills = testing.stream(
        "all-fills", [fill(900, 1), fill(901, 8), fill(902, 9, "ETH")], record=Fill
    )

    source = await seen(nursery, told(sent(0)), streams=[fills])

    found = table(source)
    assert (found[account(1)].volume, found[account(1)].trades) == (Decimal(250), 1)
    assert found[account(1)].last_seen_ms == T0 + 900
    assert (found[account(8)].volume, found[account(8)].symbols) == (Decimal(0), ("BTC",))
    assert (found[account(9)].volume, found[account(9)].trades) == (Decimal(100), 1)
    nursery.cancel_scope.cancel()


async def test_liquidations_show_who_is_there_and_count_nothing(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    both = [
        testing.stream(name, [fill(1, 9, "ETH")], record=Fill)
        for name in ("all-fills", "liquidations")
    ]

    source = await seen(nursery, streams=both)

    assert table(source)[account(9)].trades == 1
    nursery.cancel_scope.cancel()


async def test_fills_are_counted_as_they_come_and_go_on_in_the_next_run(
    autojump_clock: MockClock,
) -> None:
    fills = testing.stream("all-fills", [fill(0, 9, "ETH")], record=Fill)
    source, places = feed(exchange()), dict[str, int]()

    for number in (1, 2, 3):
        with trio.move_on_after(5):
            await discover(Config(["BTC"]), testing.streams(fills, places=places), source)
        fills.append(fill(number, 9, "ETH"))
        assert table(source)[account(9)].trades == number

    assert places == {"all-fills": 3}


async def test_a_stream_of_something_else_is_not_read(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    other = testing.stream("all-fills", [holding(1)], record=Account)

    source = await seen(nursery, told(sent(0)), streams=[other])

    assert numbers(source) == [1, 2]
    nursery.cancel_scope.cancel()


# -- the cap


def crowd(*buyers: int) -> list[str]:
    """A trade of each of these accounts with nobody, each a few seconds after the other."""
    return [told(sent(number, users=[account(buyer), ZERO])) for number, buyer in enumerate(buyers)]


async def slowly(nursery: Nursery, source_messages: list[str], **options: Any) -> Any:
    """A feed of which these messages were counted, each by itself."""

    async def play(connection: testing.Connection) -> None:
        for text in source_messages:
            await trio.sleep(2)
            await connection.say(text)

    source = feed(exchange() + testing.plays(play), retain=options.pop("retain", 1000))
    streams = testing.streams(*options.pop("streams", ()))
    nursery.start_soon(discover, Config(["BTC"], **options), streams, source)
    await trio.sleep(2 * len(source_messages) + 3)
    return source


async def test_who_was_seen_longest_ago_makes_room(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = await slowly(nursery, crowd(1, 2, 3, 1, 4, 5), max_traders=3)

    assert numbers(source) == [1, 4, 5]
    assert source.tally.dropped["too many traders"] == 2
    assert source.tally.figures["traders"] == 3
    nursery.cancel_scope.cancel()


async def test_who_holds_a_position_is_spared(autojump_clock: MockClock, nursery: Nursery) -> None:
    accounts = testing.stream("positions.accounts", record=Account)
    for one in (holding(1), holding(2, open=False)):
        accounts.append(one, key=one.address)

    source = await slowly(nursery, crowd(1, 2, 3, 4), max_traders=3, streams=[accounts])

    assert numbers(source) == [1, 3, 4]
    nursery.cancel_scope.cancel()


async def test_where_everybody_holds_a_position_somebody_makes_room_all_the_same(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    accounts = testing.stream("positions.accounts", record=Account)
    for number in range(1, 6):
        accounts.append(holding(number), key=account(number))

    source = await slowly(nursery, crowd(1, 2, 3, 4, 5), max_traders=3, streams=[accounts])

    assert len(source.values) == 3
    nursery.cancel_scope.cancel()


async def test_the_stream_retains_whoever_the_cap_lets_in(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = await slowly(nursery, crowd(1, 2, 3, 1, 4), max_traders=100, retain=3)

    assert numbers(source) == [1, 3, 4]
    nursery.cancel_scope.cancel()


async def test_a_cap_that_was_lowered_holds_from_the_next_start_on(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    source = feed(exchange() + testing.waits(1) + testing.says(*crowd(*range(1, 11))))
    with trio.move_on_after(5):
        await discover(Config(["BTC"]), testing.streams(), source)

    nursery.start_soon(discover, Config(["BTC"], max_traders=4), testing.streams(), source)
    await trio.sleep(5)

    assert len(source.values) == 4
    assert source.tally.figures["traders"] == 4
    nursery.cancel_scope.cancel()


# -- crashes


@frozen
class NoConfig:
    pass


FILLS = [fill(number, 100 + number % 70, "ETH") for number in range(150)]


async def all_fills(config: NoConfig, feed: Feed[Fill]) -> None:
    """Publishes what was not published before."""
    while True:
        count = len(feed.records())
        for one in FILLS[count : count + 20]:
            feed.publish(one, id=one.id)
        await trio.sleep(0.5)


WITH_FILLS = testing.registry(
    flowd_hyperliquid,
    SimpleNamespace(flowd_sources=lambda: [Source("fills", all_fills, NoConfig, record=Fill)]),
)
CRASHING = TOML + '[sources.all-fills]\nkind = "fills"\n'
MESSAGES = [
    told(*(sent(n, users=pair(1 + n % 60, 61 + n % 47)) for n in range(start, start + 40)))
    for start in range(0, 240, 40)
]


class Dying(trio.abc.Instrument):
    """Kills the process after so many steps of one of its tasks."""

    def __init__(self, store: MemoryStore, task: str, steps: int) -> None:
        self._store, self._task, self.left = store, task, steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._task in task.name:
            self.left -= 1
            if self.left == 0:
                self._store.freeze()


def wanted() -> dict[str, tuple[Decimal, int]]:
    """What the trades and fills add up to, account by account."""
    found: dict[str, tuple[Decimal, int]] = {}
    seen = [
        (address, trade.notional)
        for text in MESSAGES
        for trade in map(made, message(text).trades)
        for address in (trade.buyer, trade.seller)
        if address is not None
    ]
    for address, notional in [*seen, *((one.address, one.notional) for one in FILLS)]:
        volume, count = found.get(address, (Decimal(0), 0))
        found[address] = (volume + notional, count + 1)
    return found


@pytest.mark.parametrize(
    ("task", "steps"),
    [("Census.run", steps) for steps in range(1, 28)]
    + [("component traders", steps) for steps in range(1, 18, 2)],
)
async def test_whenever_the_process_is_killed_everything_is_counted_once(
    autojump_clock: MockClock, task: str, steps: int
) -> None:
    store = MemoryStore()
    script = exchange({"BTC": []}) + testing.waits(0.2)
    for text in MESSAGES:
        script += testing.says(text) + testing.waits(0.7)
    first = testing.upstream(script)
    with trio.move_on_after(8):
        async with testing.daemon(CRASHING, registry=WITH_FILLS, dial=first.dial, store=store):
            # Every further life dies again, a little later.
            trio.lowlevel.add_instrument(dying := Dying(store, task, steps))
            await trio.sleep_forever()
    trio.lowlevel.remove_instrument(dying)
    assert dying.left <= 0, "there are fewer steps; nothing was killed"

    for again in (7, 3, None):
        second = testing.upstream(exchange() + testing.waits(0.5) + testing.says(*MESSAGES))
        dying = Dying(store, "Census.run", again or 10**9)
        with trio.move_on_after(15):
            async with testing.daemon(
                CRASHING, registry=WITH_FILLS, dial=second.dial, store=store
            ) as daemon:
                trio.lowlevel.add_instrument(dying)
                await trio.sleep(14)
                found = {
                    record.value.address: (record.value.volume, record.value.trades)
                    for record in daemon.streams["traders"].after(0)
                }
        trio.lowlevel.remove_instrument(dying)

    assert found == wanted()
    (counted,) = daemon.streams["traders/counted"].after(0)
    assert counted.value == Counted({"traders.trades": 240, "all-fills": 150}, {})


# -- in a daemon, and its configuration


async def test_the_trades_are_a_stream_for_all(autojump_clock: MockClock) -> None:
    upstream = testing.upstream(exchange({"BTC": [sent(0)]}))

    async with testing.daemon(TOML, registry=REGISTRY, dial=upstream.dial) as daemon:
        await trio.sleep(5)

        listed = {one.name: one for one in daemon.streams.values() if not one.private}
        status = daemon.observer.status()

    assert listed["traders"].record is Trader
    assert listed["traders.trades"].record is Trade
    assert listed["traders.trades"].retain.count == 20_000
    assert upstream.urls == ["wss://api.hyperliquid.xyz/ws"]
    assert status.healthy


async def test_an_interruption_whose_trades_were_told_again_is_recovered(
    autojump_clock: MockClock,
) -> None:
    before = [sent(number) for number in range(30)]
    after = [sent(number, time=T0 + 8000 + number) for number in range(30, 50)]
    upstream = testing.upstream(
        exchange({"BTC": before}) + testing.waits(8) + testing.drops(),
        exchange({"BTC": before[20:] + after}),
    )

    async with testing.daemon(TOML, registry=REGISTRY, dial=upstream.dial) as daemon:
        await trio.sleep(30)

        outages = [record.value for record in daemon.streams["outages"].after(0)]

    (outage,) = [one for one in outages if one.recovered]
    assert outage.recovered == 20
    assert all(one.to_ms is not None for one in outages)


@pytest.mark.parametrize(("missed", "recovered"), [(20, [20]), (40, [])])
async def test_a_restart_of_the_daemon_costs_no_trades_where_the_old_ones_reach_back(
    autojump_clock: MockClock, missed: int, recovered: list[int]
) -> None:
    store = MemoryStore()
    before = [sent(number) for number in range(30)]
    first = testing.upstream(exchange({"BTC": before}))
    async with testing.daemon(TOML, registry=REGISTRY, dial=first.dial, store=store):
        await trio.sleep(10)

    after = [sent(number, time=T0 + 10_000 + number) for number in range(30, 30 + missed)]
    second = testing.upstream(exchange({"BTC": [*before, *after][-30:]}))
    await trio.sleep(5)
    async with testing.daemon(TOML, registry=REGISTRY, dial=second.dial, store=store) as daemon:
        await trio.sleep(30)

        outages = [record.value for record in daemon.streams["outages"].after(0)]
        trades = daemon.streams["traders.trades"].after(0)
        (trader,) = [
            record.value
            for record in daemon.streams["traders"].after(0)
            if record.value.address == account(1)
        ]

    assert [one.recovered for one in outages if one.recovered is not None] == recovered
    assert len(trades) == trader.trades == 30 + min(missed, 30)
    assert all(record.value.backfilled for record in trades)


async def test_more_trades_than_are_told_again_are_filled_from_a_standby(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    store = MemoryStore()
    before = [sent(number) for number in range(30)]
    missed = [sent(number, time=T0 + 22_000 + number) for number in range(30, 80)]
    says = testing.waits(22) + testing.says(told(*missed))
    first = testing.upstream(exchange({"BTC": before}))
    second = testing.upstream(exchange({"BTC": before}) + says)
    third = testing.upstream(exchange({"BTC": missed[-30:]}))
    machine = Machine(testing.clock, Random(0), second.dial, trio.current_time, trio.current_time)
    warm = Warm(parse(TOML, REGISTRY), machine)
    nursery.start_soon(warm.run)
    async with testing.daemon(TOML, registry=REGISTRY, dial=first.dial, store=store, crash=True):
        await trio.sleep(20)
    await trio.sleep(3)
    async with testing.daemon(
        TOML, registry=REGISTRY, dial=third.dial, store=store, spares=warm.spares
    ) as daemon:
        await trio.sleep(30)

        outages = [record.value for record in daemon.streams["outages"].after(0)]
        trades = [record.value for record in daemon.streams["traders.trades"].after(0)]
        trader = daemon.streams["traders"].get(account(1))

    assert sorted(trade.id for trade in trades) == sorted({trade.id for trade in trades})
    assert len(trades) == trader.trades == 80
    assert outages == []


def check(keys: str) -> None:
    parse(f'[sources.traders]\nkind = "hyperliquid-discovery"\n{keys}\n', REGISTRY)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", "coins = … is missing"),
        ("coins = []", r'coins = \[\]: name at least one, as \["BTC", "ETH"\]'),
        ('coins = [""]', "coins: '' is no coin; one looks like \"BTC\""),
        ('coins = ["B TC"]', "coins: 'B TC' is no coin"),
        ('coins = ["*"]', r"coins: '\*' is no coin"),
        ('coins = ["BTC", "ETH", "BTC"]', "coins: 'BTC' is there twice; leave one out"),
        (f"coins = {[f'C{n}' for n in range(1001)]}", "1001 are more than the 1000 subscriptions"),
        ('coins = ["BTC"]\nurl = "https://x"', 'such as "wss://api.hyperliquid.xyz/ws"'),
        ('coins = ["BTC"]\nurl = "wss://"', 'such as "wss://api.hyperliquid.xyz/ws"'),
        ('coins = ["BTC"]\nexclude = ["0x12"]', "exclude: '0x12' is no address; one is 0x and 40"),
        ('coins = ["BTC"]\nmax_traders = 0', "max_traders = 0: expected a number from 1 to 100000"),
        ('coins = ["BTC"]\nmax_traders = 100001', "expected a number from 1 to 100000"),
        ('coins = ["BTC"]\nsilence = "5s"', 'silence: expected at least "60s"'),
        ('coins = ["BTC"]\ncoin = "ETH"', "there is no key 'coin'.*coins"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(keys: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(keys)


def test_coins_of_every_kind_are_coins() -> None:
    check('coins = ["BTC", "kPEPE", "xyz:TSLA", "@107", "PURR/USDC", "#12"]')


def test_settings_are_what_the_seed_had() -> None:
    assert evolve(Config(["BTC"]), exclude=[ZERO]).excluded == Config(["BTC"]).excluded == {ZERO}
    assert Config(["BTC"]).max_traders == 50_000
