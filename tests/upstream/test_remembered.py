"""What an upstream is asked for now and then: fresh, old, too old, and not to be had."""

from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Remembered
from flowd.values.errors import UpstreamError

HOUR_S, DAY_S = 3600.0, 86_400.0


@frozen
class Listed:
    time_ms: int
    names: tuple[str, ...]


class Exchange:
    """Answers what is next of `answers`, the last one for ever; None is no answer."""

    def __init__(self, feed: testing.ScriptedFeed[Any], *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked_at: list[float] = []
        self._feed = feed

    async def ask(self) -> Listed:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise UpstreamError("nobody there")
        return Listed(self._feed.clock(), tuple(answer.split()))

    def remembered(self) -> Remembered[Listed]:
        """As a component makes it anew in each of its runs."""
        return Remembered(
            self._feed,
            "listed",
            Listed,
            self.ask,
            what="list",
            fresh_s=HOUR_S,
            old_s=DAY_S,
            retry_s=300.0,
        )


async def test_it_is_asked_for_once_an_hour_whoever_needs_it(autojump_clock: MockClock) -> None:
    exchange = Exchange(testing.feed(), "A B", "A C")
    first = await exchange.remembered().get()

    await trio.sleep(HOUR_S - 1)
    same = await exchange.remembered().get()
    await trio.sleep(1)
    later = await exchange.remembered().get()

    assert (first.names, same, later.names) == (("A", "B"), first, ("A", "C"))
    assert exchange.asked_at == [0, HOUR_S]


async def test_what_is_not_to_be_had_is_done_with_until_it_is_a_day_old(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed()
    exchange = Exchange(feed, "A", None)
    first = await exchange.remembered().get()

    await trio.sleep(DAY_S)
    assert await exchange.remembered().get() == first
    await trio.sleep(1)
    with pytest.raises(UpstreamError, match="nobody there"):
        await exchange.remembered().get()

    assert exchange.remembered().known == first
    assert feed.tally.dropped == {"no list": 1}


async def test_where_nothing_ever_was_there_is_nothing_to_do_with(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange(testing.feed(), None)

    with pytest.raises(UpstreamError, match="nobody there"):
        await exchange.remembered().get()

    assert exchange.remembered().known is None


async def test_the_next_one_comes_when_it_is_time_and_is_asked_for_until_it_comes(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed()
    exchange = Exchange(feed, "A", None, None, "B", "C")
    remembered = exchange.remembered()
    await remembered.get()

    names = [(await remembered.next()).names, (await remembered.next()).names]

    assert names == [("B",), ("C",)]
    assert exchange.asked_at == [0, 3600, 3900, 4200, 7800]
    assert feed.tally.dropped == {"no list": 2}


async def test_what_was_kept_under_another_key_is_known_too(autojump_clock: MockClock) -> None:
    feed = testing.feed()
    kept = Listed(feed.clock(), ("A",))
    feed.table("listed", Listed).append(kept, key="linear")

    assert await Exchange(feed, None).remembered().get() == kept


async def test_who_asks_at_once_gets_what_is_new(autojump_clock: MockClock) -> None:
    exchange = Exchange(testing.feed(), "A", "B", None)
    remembered = exchange.remembered()
    await remembered.get()

    new = await remembered.refresh()
    with pytest.raises(UpstreamError):
        await remembered.refresh()

    assert new.names == ("B",)
    assert await remembered.get() == new


async def test_a_clock_that_was_set_back_puts_it_off_by_no_more_than_an_hour(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange(testing.feed(), "A", "B")
    remembered = exchange.remembered()
    ahead_ms = 10 * int(DAY_S) * 1000
    testing_clock = exchange._feed.clock
    exchange._feed.clock = lambda: testing_clock() + ahead_ms
    await remembered.get()
    exchange._feed.clock = testing_clock

    await remembered.next()

    assert exchange.asked_at == [0, HOUR_S]
