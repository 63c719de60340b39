"""`python -m tests.crash --cycles 1000 --seed 7`: kill flowd again and again, and say what became
of its promises. Ends with 1 when one was broken. The first Ctrl-C asks for the verdict on what was
seen so far, the second ends it at once.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.crash.run import STOP, Run, Verdict
from tests.crash.until_told import until_told


def report(verdict: Verdict) -> str:
    """The verdict in words."""
    ends = verdict.ends
    kills = {how: count for how, count in ends.items() if how != STOP}
    parts = ", ".join(f"{count} {how}" for how, count in kills.items())
    lines = [
        f"cycles         {verdict.cycles}",
        f"orders         {verdict.orders} sent, of which {verdict.unseen} reached nobody",
        f"records told   {verdict.heard}",
        f"kills          {sum(kills.values())} ({parts})",
        f"clean stops    {ends.get(STOP, 0)}",
        f"resets told    {verdict.resets}",
        f"gaps told      {verdict.gaps}",
        f"lost           {verdict.broken.get('lost', 0)}",
        f"twice          {verdict.broken.get('twice', 0)}",
        f"buckets wrong  {verdict.broken.get('buckets', 0)}",
        f"history wrong  {verdict.broken.get('history', 0)}",
        f"resets wrong   {verdict.broken.get('resets', 0)}",
        f"other wrongs   {verdict.broken.get('other', 0)}",
        f"duration       {verdict.took_s:.1f} s",
    ]
    return "\n".join([*lines, *verdict.notes])


def main() -> int:
    """Run, report; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--expect-resets",
        type=int,
        default=0,
        metavar="N",
        help="so many lives may begin with new epochs after a kill",
    )
    parser.add_argument(
        "--delay-ms", type=int, default=0, help="orders happen so long before they are sent"
    )
    parser.add_argument(
        "--folder", type=Path, help="where state, logs and the ledger lie, and stay; an empty one"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flowd-crash-") as temporary:
        run = Run(
            wanted.folder or Path(temporary),
            cycles=wanted.cycles,
            seed=wanted.seed,
            expect_resets=wanted.expect_resets,
            delay_ms=wanted.delay_ms,
        )

        def enough() -> None:
            run.cycles = 0

        verdict = trio.run(until_told, run.run, enough)
    if verdict is None:
        return 130
    sys.stdout.write(f"{report(verdict)}\n")
    if not verdict.good:
        sys.stdout.write(f"a promise was broken; the same scenes: --seed {wanted.seed}\n")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
