"""For how long one is behind another, by what is heard of both now and then."""

from flowd.pair.trail import MARKS, Trail


def test_who_knows_all_is_not_behind() -> None:
    trail = Trail()
    assert trail.behind_s(0, 5.0) == 0
    trail.note(7, 10.0)

    assert trail.behind_s(7, 30.0) == 0


def test_who_is_behind_has_been_so_since_the_oldest_frame_that_it_does_not_know() -> None:
    trail = Trail()
    for frame, now in ((7, 10.0), (8, 11.0), (9, 12.0)):
        trail.note(frame, now)

    assert trail.behind_s(6, 13.0) == 3
    assert trail.behind_s(7, 13.0) == 2
    assert trail.behind_s(8, 14.0) == 2
    assert trail.behind_s(9, 14.0) == 0


def test_what_is_said_again_makes_nothing_younger() -> None:
    trail = Trail()
    for now in range(10):
        trail.note(7, float(now))

    assert trail.behind_s(6, 10.0) == 10


def test_who_is_behind_for_days_takes_no_more_memory_and_its_time_is_right() -> None:
    trail = Trail()
    for frame in range(1, 10 * MARKS):
        trail.note(frame, float(frame))

    assert len(trail._marks) <= MARKS
    assert trail.behind_s(0, 50_000.0) == 49_999.0


def test_who_begins_anew_is_not_behind_by_what_was_before() -> None:
    trail = Trail()
    trail.note(7, 10.0)
    trail.clear()

    assert trail.behind_s(0, 20.0) == 0
