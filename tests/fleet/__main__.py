"""`python -m tests.fleet --minutes 10 --seed 7`: kill and restart all that is behind a proxy,
again and again, and say what became of its clients. Ends with 1 when a promise was broken. The
first Ctrl-C asks for the verdict on what was seen so far, the second ends it at once.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import trio

from tests.crash.until_told import until_told
from tests.fleet.daemons import SCENES
from tests.fleet.run import CLIENTS, PACE, Run


def drawn(seed: int, seconds: float) -> Iterator[str]:
    """Scenes for so long."""
    random, weights = Random(f"{seed} scenes"), [weight for _, weight in SCENES.values()]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield random.choices(list(SCENES), weights=weights)[0]


def main() -> int:
    """Run, report; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument(
        "--pace", type=float, default=PACE, help="how fast is traded, 1.0 as in the crash test"
    )
    parser.add_argument(
        "--scene", action="append", choices=list(SCENES), help="these, instead of drawn ones"
    )
    parser.add_argument(
        "--folder", type=Path, help="where state, logs and the ledger lie, and stay; an empty one"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flowd-fleet-") as temporary:
        run = Run(
            wanted.folder or Path(temporary),
            seed=wanted.seed,
            clients=wanted.clients,
            pace=wanted.pace,
        )
        scenes = wanted.scene or drawn(wanted.seed, 60 * wanted.minutes)

        def enough() -> None:
            run.enough = True

        verdict = trio.run(until_told, partial(run.run, scenes), enough)
    if verdict is None:
        return 130
    sys.stdout.write(f"{verdict}\n")
    if not verdict.good:
        sys.stdout.write(f"a promise was broken; the same scenes: --seed {wanted.seed}\n")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
