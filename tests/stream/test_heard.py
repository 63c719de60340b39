"""What a standby holds of a stream, and what of it the leader may have written and forgotten."""

import pytest

from flowd.stream import heard as held
from flowd.stream.heard import ENTRY_BYTES, HEARD_MAX, Heard
from flowd.stream.log import Stream
from flowd.stream.seen import SEEN_MAX
from tests.upstream.test_feed import Tick


class Ticking:
    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


def stream(clock: Ticking | None = None) -> Stream[Tick]:
    return Stream("orders", Tick, clock=clock or Ticking(), epoch="e")


def listening(heard: Heard, clock: Ticking | None = None) -> Stream[Tick]:
    made = stream(clock)
    made.journal(heard, 0)
    return made


def ids(heard: Heard, number: int = 0) -> list[str]:
    return [one.id for one in heard.since(number)]


def tell(number: int, *streams: Stream[Tick]) -> None:
    for one in streams:
        one.append(Tick(number), id=str(number))


def test_what_has_an_id_is_held_in_its_order_as_it_was_written() -> None:
    heard = Heard()
    made = listening(heard)

    tell(1, made)
    tell(2, made)

    assert [one.json for one in heard.since(0)] == [record.json for record in made.after(0)]
    assert ids(heard) == ["1", "2"]


def test_what_cannot_be_told_apart_is_not_held() -> None:
    heard = Heard()
    made = listening(heard)

    made.append(Tick(1))
    made.append(Tick(2), key="a")
    made.append(Tick(3), key="b", id="3")
    made.append(Tick(3), key="b", id="4")
    tell(5, made)
    tell(5, made)
    made.forget("a")

    assert ids(heard) == ["5"]


def test_what_was_taken_is_not_given_again() -> None:
    heard = Heard()
    made = listening(heard)
    tell(1, made)

    taken = heard.end
    tell(2, made)

    assert ids(heard, taken) == ["2"]


def test_the_oldest_makes_room_for_bytes() -> None:
    heard, clock = Heard(limit_bytes=3 * (ENTRY_BYTES + 60)), Ticking()
    made = listening(heard, clock)
    assert heard.lost_ms is None

    for number in range(1, 10):
        clock.now_ms += 1
        tell(number, made)

    assert ids(heard) == ["7", "8", "9"]
    assert heard.bytes <= heard.limit_bytes
    assert heard.lost_ms == 1_006


def test_the_oldest_makes_room_for_number_and_numbers_go_on() -> None:
    heard = Heard(limit=3)
    made = listening(heard)
    for number in range(1, 6):
        tell(number, made)

    assert (ids(heard), heard.end) == (["3", "4", "5"], 5)
    assert ids(heard, 4) == ["5"]


def test_a_stream_that_has_forgotten_no_id_lacks_all_that_it_does_not_know() -> None:
    heard, leader = Heard(), stream()
    standby = listening(heard)
    tell(1, leader)
    for number in (1, 2, 3):
        tell(number, standby)

    assert heard.start(leader.seen, 1_000) == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Ids that a stream remembers for sure, of twenty."""
    monkeypatch.setattr("flowd.stream.seen.SEEN_MAX", 20)
    monkeypatch.setattr(held, "HEARD_MAX", 18)
    return 18


def test_what_was_told_before_all_that_the_leader_is_sure_to_know_may_be_forgotten(
    small: int,
) -> None:
    heard, leader = Heard(), stream()
    standby = listening(heard)
    # The standby was away while the leader went on.
    for number in range(1, 51):
        tell(number, leader)
        if number <= 5 or number > 45:
            tell(number, standby)
    for number in (51, 52):
        tell(number, standby)

    start = heard.start(leader.seen, 1_000)

    # 1 to 5 are unknown to the leader, since it has forgotten them.
    assert ids(heard, start) == ["46", "47", "48", "49", "50", "51", "52"]
    assert [id for id in ids(heard, start) if id not in leader.seen] == ["51", "52"]


def test_what_is_told_out_of_order_at_the_edge_of_what_is_remembered_is_not_sure(
    small: int,
) -> None:
    heard, leader = Heard(), stream()
    standby = listening(heard)
    for number in range(1, 41):
        tell(number, leader)
    # 21 is the oldest that the leader remembers; 20 was told to it before, and here after.
    for number in (21, 20, *range(22, 41)):
        tell(number, standby)

    start = heard.start(leader.seen, 1_000)

    assert "20" not in leader.seen
    assert "20" not in ids(heard, start)


def test_where_the_leader_knows_none_only_what_came_after_it_is_sure(small: int) -> None:
    heard, leader, clock = Heard(), stream(), Ticking()
    standby = listening(heard, clock)
    for number in range(1, 51):
        tell(number, leader)
    for number in (1, 2, 60, 61):
        clock.now_ms = 900 if number < 50 else 1_100
        tell(number, standby)

    assert ids(heard, heard.start(leader.seen, 1_000)) == ["60", "61"]
    assert ids(heard, heard.start(leader.seen, 2_000)) == []
    assert ids(heard, heard.start(leader.seen, None)) == ["1", "2", "60", "61"]


def test_no_more_is_held_than_the_leader_is_sure_to_remember() -> None:
    assert HEARD_MAX < SEEN_MAX
