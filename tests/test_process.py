"""How the process is set up for the one thread that serves everybody."""

import gc
import sys
from collections.abc import Iterator

import pytest

from flowd.process import SWITCH_S, settle

MOST = 5000
"""Objects that may be looked at in one step: some take a microsecond each."""


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    before, switch_s = gc.get_threshold(), sys.getswitchinterval()
    settle()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    sys.setswitchinterval(switch_s)


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


def test_a_thread_that_computes_gives_way_to_the_loop_soon() -> None:
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
