"""Whether old trades close the time without a connection: coin by coin."""

from decimal import Decimal

from flowd_hyperliquid.gap import OLD, Gap
from flowd_hyperliquid.newest import Newest

from flowd import testing
from flowd.market import Trade

SINCE = 1_790_000_000_000


def trade(time_ms: int, coin: str = "BTC") -> Trade:
    one, id = Decimal(1), f"hl:{time_ms}:{coin}"
    return Trade(coin, "BUY", one, one, one, time_ms, id, "hyperliquid")


def old(first_ms: int, count: int = OLD) -> list[Trade]:
    return [trade(first_ms + number) for number in range(count)]


def gap(*told: Trade, coins: tuple[str, ...] = ("BTC",)) -> Gap:
    """The gap after these trades were told."""
    newest = Newest(testing.feed())
    for one in told:
        newest.note(one)
    return Gap(SINCE, coins, newest)


def test_thirty_trades_that_begin_before_the_last_one_close_it() -> None:
    one = gap(trade(SINCE))

    one.told("BTC", old(SINCE - 1), 28)

    assert (one.told_all, one.closed(), one.recovered) == (True, True, 28)


def test_thirty_trades_that_begin_in_the_last_ones_block_may_lack_some_of_it() -> None:
    one = gap(trade(SINCE))

    one.told("BTC", old(SINCE), 29)

    assert (one.told_all, one.closed(), one.recovered) == (True, False, 0)


def test_fewer_than_thirty_are_all_there_are() -> None:
    one = gap(trade(SINCE))

    one.told("BTC", old(SINCE + 5, OLD - 1), 29)

    assert one.closed()


def test_of_a_coin_that_is_new_here_they_have_to_begin_before_the_gap() -> None:
    early, late = gap(), gap()

    early.told("BTC", old(SINCE - 1), 29)
    late.told("BTC", old(SINCE + 1), 30)

    assert (early.closed(), late.closed()) == (True, False)


def test_a_coin_that_says_nothing_keeps_it_open_only_if_it_ever_traded() -> None:
    silent = gap(trade(SINCE), coins=("BTC", "ETH"))

    assert not silent.told_all
    assert not silent.closed(), "of BTC something may be missing"
    silent.told("BTC", old(SINCE - 1), 1)
    assert not silent.told_all
    assert silent.closed(), "ETH has never traded"


def test_one_coin_that_leaves_it_open_settles_it() -> None:
    one = gap(trade(SINCE), coins=("BTC", "ETH"))

    one.told("BTC", old(SINCE + 1), 30)

    assert one.told_all
    one.told("ETH", old(SINCE - 1), 3)
    assert not one.closed()


def test_a_coin_is_told_once() -> None:
    one = gap(trade(SINCE))

    one.told("BTC", old(SINCE - 1), 3)
    one.told("BTC", old(SINCE + 100), 30)

    assert (one.closed(), one.recovered) == (True, 3)
