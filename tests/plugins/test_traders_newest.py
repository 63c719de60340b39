"""The newest records of each address, which are not looked for each time."""

import trio
from attrs import frozen
from flowd_leaderboard.newest import AT_ONCE, Newest

from flowd import testing
from flowd.stream.inputs import Input
from flowd.stream.log import Retain, Stream


@frozen
class Deed:
    address: str
    number: int


def deeds(retain: int = 100_000) -> Stream[Deed]:
    return Stream("deeds", Deed, clock=testing.clock, epoch="k3v9", retain=Retain(retain))


def do(stream: Stream[Deed], address: str, *numbers: int) -> None:
    for number in numbers:
        stream.append(Deed(address, number))


async def found(newest: Newest, address: str) -> list[int]:
    return [record.value.number for record in await newest.of(address)]


async def test_the_newest_of_an_address_come_first_and_are_at_most_so_many() -> None:
    stream = deeds()
    newest = Newest(Input(stream, {}), 3)
    for number in range(5):
        do(stream, "a", number)
        do(stream, "b", -number)

    assert await found(newest, "a") == [4, 3, 2]
    do(stream, "a", 5)

    assert await found(newest, "a") == [5, 4, 3]
    assert await found(newest, "b") == [-4, -3, -2]
    assert await found(newest, "c") == []


async def test_what_the_stream_let_go_is_found_no_more_and_takes_no_memory() -> None:
    stream = deeds(retain=10)
    newest = Newest(Input(stream, {}), 3)
    do(stream, "a", 1, 2)
    assert await found(newest, "a") == [2, 1]

    do(stream, "b", *range(9))

    assert await found(newest, "a") == [2]
    do(stream, "b", *range(5 * AT_ONCE))
    assert await found(newest, "a") == []
    assert len(newest._noted) == 10
    assert list(newest._of) == ["b"]


async def test_a_long_past_is_read_in_portions_by_whoever_asks() -> None:
    stream = deeds()
    newest = Newest(Input(stream, {}), 3)
    do(stream, "a", *range(10 * AT_ONCE))
    answers: list[list[int]] = []
    steps = 0

    async def ask() -> None:
        answers.append(await found(newest, "a"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        while len(answers) < 3:
            steps += 1
            await trio.lowlevel.checkpoint()

    assert steps > 2, "others were let run"
    last = 10 * AT_ONCE - 1
    assert answers == [[last, last - 1, last - 2]] * 3
    assert len(newest._noted) == 10 * AT_ONCE, "each was taken once"


async def test_a_stream_that_moves_on_does_not_keep_who_asks_waiting() -> None:
    stream = deeds()
    newest = Newest(Input(stream, {}), 1)
    do(stream, "a", 1)
    answers: list[list[int]] = []

    async def ask() -> None:
        answers.append(await found(newest, "a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for number in range(50):
            do(stream, "b", number)
            await trio.lowlevel.checkpoint()
            if answers:
                break

    assert answers == [[1]]
    assert number < 49
