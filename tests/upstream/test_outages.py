"""When a source was not delivering, as records like any other."""

from flowd.stream.cut import Saved
from flowd.stream.log import Stream
from flowd.upstream.outages import Outage, Outages
from flowd.values import codec
from flowd.values.record import Record


class Ticking:
    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


def make(clock: Ticking) -> Outages:
    return Outages(Stream("outages", Outage, clock=clock, epoch="e"), clock)


def told(outages: Outages) -> list[Outage]:
    return [record.value for record in outages.stream.after(0)]


def test_an_outage_opens_now_and_closes_now() -> None:
    clock = Ticking()
    outages = make(clock)

    outages.open("orders", "connection lost")
    opened = told(outages)
    clock.now_ms = 5_000
    outages.close("orders")

    assert opened == [Outage("orders", 1_000, None, "connection lost")]
    assert told(outages) == [Outage("orders", 1_000, 5_000, "connection lost")]
    assert outages.current("orders") is None


def test_an_outage_began_when_the_last_sign_of_life_came() -> None:
    outages = make(Ticking())

    outages.open("orders", "silent", from_ms=400)

    assert outages.current("orders") == Outage("orders", 400, None, "silent")


def test_an_outage_does_not_begin_in_the_future() -> None:
    outages = make(Ticking())

    outages.open("orders", "silent", from_ms=9_999)

    assert told(outages)[0].from_ms == 1_000


def test_an_outage_does_not_end_before_it_began() -> None:
    clock = Ticking()
    outages = make(clock)
    outages.open("orders", "lost")

    clock.now_ms = 10
    outages.close("orders")

    assert told(outages) == [Outage("orders", 1_000, 1_000, "lost")]


def test_what_is_known_already_is_no_news() -> None:
    clock = Ticking()
    outages = make(clock)

    outages.open("orders", "lost")
    clock.now_ms = 2_000
    outages.open("orders", "lost again")

    assert told(outages) == [Outage("orders", 1_000, None, "lost")]


def test_closing_what_is_not_open_does_nothing() -> None:
    outages = make(Ticking())

    outages.close("orders")

    assert told(outages) == []


def test_each_outage_of_a_component_is_a_record_of_its_own() -> None:
    clock = Ticking()
    outages = make(clock)

    for begin_ms in (1_000, 3_000):
        clock.now_ms = begin_ms
        outages.open("orders", "lost")
        clock.now_ms += 500
        outages.close("orders")

    assert [(o.from_ms, o.to_ms) for o in told(outages)] == [(1_000, 1_500), (3_000, 3_500)]


def test_components_have_outages_of_their_own() -> None:
    outages = make(Ticking())

    outages.open("orders", "lost")
    outages.open("candles", "lost")
    outages.close("candles")

    assert outages.current("orders") is not None
    assert outages.current("candles") is None


def test_a_closed_stream_is_told_nothing_more() -> None:
    outages = make(Ticking())
    outages.stream.close()

    outages.open("orders", "stopping")

    assert told(outages) == []
    assert outages.current("orders") is not None


def test_while_the_daemon_was_not_running_nobody_delivered() -> None:
    outages = make(Ticking())

    outages.resume({"orders": 600, "candles": 800})

    reason = "the daemon was not running"
    assert sorted(told(outages), key=lambda o: o.component) == [
        Outage("candles", 800, None, reason),
        Outage("orders", 600, None, reason),
    ]


def test_the_first_start_ever_is_no_outage() -> None:
    outages = make(Ticking())

    outages.resume({"orders": None})

    assert told(outages) == []


def saved(*outages: Outage) -> Saved[Outage]:
    records = [
        Record(seq, o.from_ms, o, f"{o.component}@{o.from_ms}") for seq, o in enumerate(outages, 1)
    ]
    return Saved(len(records), 0, records, [], 0)


def test_an_outage_that_was_open_at_the_stop_goes_on_as_the_same() -> None:
    clock = Ticking()
    outages = make(clock)
    outages.stream.restore(saved(Outage("orders", 100, 200, "x"), Outage("orders", 300, None, "y")))

    outages.resume({"orders": 600})
    outages.close("orders")

    assert told(outages) == [Outage("orders", 100, 200, "x"), Outage("orders", 300, 1_000, "y")]


def test_an_open_outage_of_a_component_that_is_gone_is_closed() -> None:
    outages = make(Ticking())
    outages.stream.restore(saved(Outage("removed", 300, None, "y")))

    outages.resume({"orders": None})

    assert told(outages) == [Outage("removed", 300, 1_000, "y")]
    assert outages.current("removed") is None


# -- what is missed while a component delivers


def test_what_is_missed_in_between_is_an_outage_that_is_over() -> None:
    clock = Ticking()
    outages = make(clock)
    clock.now_ms = 5_000

    outages.past("orders", "hole in seq", 4_000)

    assert told(outages) == [Outage("orders", 4_000, 5_000, "hole in seq")]
    assert outages.current("orders") is None


def test_what_is_missed_again_and_again_is_one_outage_that_grows() -> None:
    clock = Ticking()
    outages = make(clock)
    for second in range(1, 100):
        clock.now_ms = second * 1000
        outages.past("orders", "hole in seq", clock.now_ms - 500)

    assert told(outages) == [Outage("orders", 500, 99_000, "hole in seq")]


def test_what_is_missed_much_later_or_for_another_reason_is_another_outage() -> None:
    clock = Ticking()
    outages = make(clock)
    for now_ms, reason in ((1_000, "hole"), (2_000, "gap"), (200_000, "gap")):
        clock.now_ms = now_ms
        outages.past("orders", reason, now_ms - 1)

    assert [outage.reason for outage in told(outages)] == ["hole", "gap", "gap"]


def test_what_is_missed_during_an_outage_is_part_of_it() -> None:
    outages = make(Ticking())
    outages.open("orders", "connection lost")

    outages.past("orders", "hole in seq", 0)

    assert [outage.reason for outage in told(outages)] == ["connection lost"]


# -- what came after all --


def closed(from_ms: int, to_ms: int) -> Outages:
    """One outage of the orders, that is over."""
    clock = Ticking()
    clock.now_ms = from_ms
    outages = make(clock)
    outages.open("orders", "lost")
    clock.now_ms = to_ms
    outages.close("orders")
    return outages


def parts(outages: Outages) -> list[tuple[int, int | None, int | None]]:
    return sorted((o.from_ms, o.to_ms, o.recovered) for o in told(outages))


def test_an_outage_of_which_all_came_after_all_is_told_from_what_is_lost() -> None:
    outages = closed(1_000, 5_000)

    outages.recovered("orders", 500, 6_000, 12)

    assert told(outages) == [Outage("orders", 1_000, 5_000, "lost", recovered=12)]


def test_a_part_that_came_after_all_is_told_from_the_rest() -> None:
    for from_ms, to_ms, expected in (
        (0, 2_000, [(1_000, 2_000, 3), (2_000, 5_000, None)]),
        (4_000, 9_000, [(1_000, 4_000, None), (4_000, 5_000, 3)]),
        (2_000, 3_000, [(1_000, 2_000, None), (2_000, 3_000, 3), (3_000, 5_000, None)]),
        (5_000, 9_000, [(1_000, 5_000, None)]),
        (0, 900, [(1_000, 5_000, None)]),
    ):
        outages = closed(1_000, 5_000)

        outages.recovered("orders", from_ms, to_ms, 3)

        assert parts(outages) == expected


def test_what_came_of_an_outage_that_is_open_leaves_it_open() -> None:
    outages = make(Ticking())
    outages.open("orders", "lost", from_ms=200)

    outages.recovered("orders", 200, 700, 3)

    assert parts(outages) == [(200, 700, 3), (700, None, None)]
    assert outages.current("orders") == Outage("orders", 700, None, "lost")


def test_what_came_of_several_counts_once_and_of_another_component_not_at_all() -> None:
    clock = Ticking()
    outages = make(clock)
    for component, from_ms in (("orders", 1_000), ("orders", 3_000), ("other", 3_000)):
        clock.now_ms = from_ms
        outages.open(component, "lost")
        clock.now_ms = from_ms + 500
        outages.close(component)

    outages.recovered("orders", 0, 9_000, 7)

    assert [(o.component, o.from_ms, o.recovered) for o in told(outages)] == [
        ("other", 3_000, None),
        ("orders", 3_000, 7),
        ("orders", 1_000, 0),
    ]


def test_an_outage_that_was_saved_before_they_told_what_came_is_readable() -> None:
    old = b'{"component":"orders","from_ms":1,"to_ms":2,"reason":"x"}'

    assert codec.loads_value(b'{"value":%b}' % old, Outage) == Outage("orders", 1, 2, "x")
