"""`make sim SEEDS=n`: what it says of worlds that broke a promise."""

import pytest

from tests.simulation import __main__ as many


def test_a_broken_promise_is_told_with_its_seed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(seed: int) -> None:
        raise ExceptionGroup("tasks", [AssertionError("record 7 was lost")])

    monkeypatch.setattr(many, "simulate", broken)
    total = many.Sum()

    for seed in (3, 4):
        total.add(many.one(seed))

    assert total.broken == dict.fromkeys((3, 4), "AssertionError: record 7 was lost")
    assert "2 violations" in str(total)


def test_a_world_tells_how_long_it_lived() -> None:
    world = many.one(1)

    assert not world.broken
    assert world.seconds > 240
    assert world.records
