"""`python -m tests.simulation --seeds 10000`: many worlds, one process for each core. Says how long
they lived and which of them broke a promise; ends with 1 when one did.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable

from attrs import define, field, frozen

from tests.simulation.world import simulate

SAY_EVERY_S = 10.0


@frozen
class World:
    """What became of one: how long it lived, what was published in it, what promise it broke."""

    seed: int
    seconds: float = 0.0
    lives: int = 0
    records: int = 0
    broken: str = ""


@define
class Sum:
    """What became of all of them."""

    worlds: int = 0
    days: float = 0.0
    lives: int = 0
    records: int = 0
    broken: dict[int, str] = field(factory=dict)

    def add(self, world: World) -> None:
        """One more."""
        self.worlds += 1
        self.days += world.seconds / 86_400
        self.lives += world.lives
        self.records += world.records
        if world.broken:
            self.broken[world.seed] = world.broken

    def __str__(self) -> str:
        return (
            f"{self.worlds} worlds, {self.days:.2f} simulated days, {self.lives} lives of the"
            f" daemon, {self.records} records, {len(self.broken)} violations"
        )


def one(seed: int) -> World:
    """The world of this seed. One that fails is told, not raised: the others go on."""
    try:
        outcome = simulate(seed)
    except Exception as error:
        leaf: BaseException = error
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        return World(seed, broken=f"{type(leaf).__name__}: {leaf}"[:300])
    broken = "" if outcome.published else "nothing happened in this world"
    return World(seed, outcome.seconds, outcome.lives, outcome.published, broken)


def live(seeds: Iterable[int], processes: int) -> Sum:
    """Simulate them all, and say now and then how far it is."""
    total, said = Sum(), time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        for world in pool.imap_unordered(one, seeds):
            total.add(world)
            if world.broken:
                sys.stderr.write(f"seed {world.seed}: {world.broken}\n")
            if time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                sys.stderr.write(f"{total}\n")
    return total


def main() -> int:
    """Simulate, report; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--processes", type=int, default=cores, help="how many at a time")
    given = parser.parse_args()
    began = time.monotonic()
    total = live(range(given.first, given.first + given.seeds), given.processes)
    sys.stdout.write(f"{total}, in {time.monotonic() - began:.0f} s\n")
    for seed in sorted(total.broken):
        sys.stdout.write(f"to repeat it: make sim SEED={seed}\n")
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
