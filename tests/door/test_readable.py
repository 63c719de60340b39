"""Of thousands that have something to say, a few are told of at a time, and each in its turn."""

import socket
from contextlib import ExitStack

from flowd.door.readable import AT_ONCE, Readable


def test_a_crowd_is_heard_a_few_at_a_time_and_nobody_is_left_out() -> None:
    readable: Readable[int] = Readable()
    turns: list[list[int]] = []

    with ExitStack() as stack:
        for number in range(3 * AT_ONCE):
            ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
            readable.add(ours, number)
            theirs.send(b"x")
        for _ in range(3):
            found = readable.now()
            turns.append([number for _, number in found])
            for raw, _ in found:
                raw.recv(1)
        left = readable.now()

    assert [len(turn) for turn in turns] == [AT_ONCE] * 3
    assert sorted(number for turn in turns for number in turn) == list(range(3 * AT_ONCE))
    assert left == []


def test_who_says_much_is_heard_no_more_often_than_the_others() -> None:
    readable: Readable[int] = Readable()
    heard: list[int] = []

    with ExitStack() as stack:
        for number in range(2 * AT_ONCE):
            ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
            readable.add(ours, number)
            theirs.send(b"x" * 100)
        for _ in range(4):
            for raw, number in readable.now():
                raw.recv(1)
                heard.append(number)

    assert sorted(heard) == sorted([*range(2 * AT_ONCE)] * 2)


def test_who_was_removed_is_not_heard() -> None:
    readable: Readable[str] = Readable()
    ours, theirs = socket.socketpair()

    with ours, theirs:
        readable.add(ours, "one")
        theirs.send(b"x")
        before = readable.now()
        readable.remove(ours)
        after = readable.now()

    assert (before, after) == ([(ours, "one")], [])
