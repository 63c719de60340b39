"""How the process is set up for the one thread that serves everybody."""

import gc
from collections.abc import Iterator

import pytest

from flowd.process import GC_THRESHOLDS

MOST = 10_000
"""Objects that may be looked at in one step: some take a microsecond each."""


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_no_collection_looks_at_much_at_once_however_many_come() -> None:
    looked_at: list[int] = []

    def note(phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            young = range(about["generation"] + 1)
            looked_at.append(sum(len(gc.get_objects(number)) for number in young))

    gc.callbacks.append(note)
    crowd = [[number] for number in range(100_000)]
    gc.callbacks.remove(note)

    assert len(crowd) == 100_000
    assert len(looked_at) > 50
    assert max(looked_at) < MOST
