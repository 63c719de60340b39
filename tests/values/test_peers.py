"""What a daemon is among others, and whom it knows, as its plugins tell."""

import trio
from attrs import evolve

from flowd.values.peers import FORGET_S, FRESH_S, PEERS_MAX, Peer, Peers

Clock = trio.testing.MockClock

EDGE = Peer("here:1:0", "edge", "here", 1, "1.0", ("http://here:4200/",), 5000)


def test_a_daemon_that_no_plugin_connects_is_alone() -> None:
    assert Peers().figures() == {"role": "alone", "behind": None, "lag_ms": None, "peers": []}


async def test_the_worst_of_what_is_told_is_how_it_is(autojump_clock: Clock) -> None:
    peers = Peers(lambda: evolve(EDGE, role="alone"))
    peers.tell("upstream", "edge", behind=3, lag_ms=40)
    peers.tell("redis", "ingest", behind=1, lag_ms=90, problem="its memory is full")
    peers.tell("more", "ingest")

    own = peers.own

    assert (own.role, own.behind, own.lag_ms) == ("edge+ingest", 3, 90)
    assert (own.problem, own.host) == ("its memory is full", "here")


async def test_what_is_told_anew_is_all_that_counts(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.tell("upstream", "standby", behind=3, lag_ms=40, problem="it waits")
    peers.tell("upstream", "ingest")

    assert (peers.own.role, peers.own.behind, peers.own.problem) == ("ingest", None, None)


async def test_how_far_behind_it_is_grows_while_nobody_can_say(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.tell("upstream", "edge", lag_ms=40)
    await trio.sleep(FRESH_S - 0.1)
    assert peers.own.lag_ms == 40
    await trio.sleep(7.1)
    assert peers.own.lag_ms == 10_040


async def test_others_grow_older_and_are_let_go_of(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.heard("upstream", [evolve(EDGE, age_ms=500)])
    await trio.sleep(2)
    assert [one.age_ms for one in peers.others] == [2500]
    await trio.sleep(FORGET_S)
    assert peers.others == []


async def test_who_was_heard_of_twice_is_there_once_as_it_was_last(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.heard("upstream", [evolve(EDGE, clients=1)])
    await trio.sleep(2)
    peers.heard("redis", [evolve(EDGE, clients=2)])

    assert [one.clients for one in peers.others] == [2]


async def test_the_ingest_is_first_and_then_who_is_oldest(autojump_clock: Clock) -> None:
    peers = Peers()
    young, ingest = evolve(EDGE, id="b", started_ms=7000), Peer("c", "ingest", started_ms=9000)
    peers.heard("upstream", [young, EDGE, ingest])

    assert [one.id for one in peers.others] == ["c", EDGE.id, "b"]
    assert peers.figures()["peers"][1]["addresses"] == ["http://here:4200/"]


async def test_no_more_are_known_than_can_be_shown(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.heard("upstream", (evolve(EDGE, id=str(number)) for number in range(1000)))

    assert len(peers.others) == PEERS_MAX


async def test_a_process_of_this_very_daemon_is_no_other_one(autojump_clock: Clock) -> None:
    peers = Peers()
    peers.ours = lambda peer: peer.host == "here"
    crowd = [evolve(EDGE, id=str(number)) for number in range(PEERS_MAX)]
    peers.heard("upstream", [*crowd, evolve(EDGE, id="other", host="there")])

    assert [one.id for one in peers.others] == ["other"]
