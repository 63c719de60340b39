"""What the forms of flowd without Python take: their size, and until they answer."""

import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import contenders, machine, single
from .contenders import FLOWD
from .process import ROOT, BenchError, end, launch
from .report import Row
from .run import Run

FILE, FOLDER = "one file", "a folder"


def rows(run: Run) -> Iterator[Row]:
    """What `make dist` built; nothing where it did not."""
    built = ROOT / "dist"
    files = [path for path in built.glob("flowd-*") if path.suffix != ".gz"]
    archives = list(built.glob("flowd-*.tar.gz"))
    if not files or not archives:
        raise BenchError("there are no executables in dist/; `make dist` builds them")
    size = Row("executables without Python: to download", "MB")
    size.add(FLOWD, next(built.glob("*.whl")).stat().st_size / 1e6, "the wheel")
    size.add(FILE, files[0].stat().st_size / 1e6)
    size.add(FOLDER, archives[0].stat().st_size / 1e6)
    yield size
    with tarfile.open(archives[0]) as packed:
        packed.extractall(run.bench.directory, filter="tar")
    (folder,) = run.bench.directory.glob("flowd-*/flowd")
    programs: dict[str, list[str]] = {FLOWD: [], FILE: [str(files[0])], FOLDER: [str(folder)]}
    start = Row("executables without Python: start until /health answers", "s")
    yield run.rounds(start, list(programs), lambda name: (started(run, programs[name]), ""))


def started(run: Run, program: list[str]) -> float:
    """Seconds until a daemon with an empty state answers; the wheel's where no program is named."""
    port = machine.free_port()
    state = Path(run.bench.directory) / f"started-{port}.db"
    python, *arguments = contenders.flowd_command(run.bench, port, state)
    command = [*program, *arguments[2:]] if program else [python, *arguments]
    began = time.monotonic()
    log, core = run.bench.log(FLOWD), run.bench.cores.server
    server = launch(FLOWD, command, port, core, log, cwd=run.bench.directory)
    try:
        contenders.wait_until(
            lambda: single.answers(server), 60.0, "flowd answers /health", pause_s=0.002
        )
        return time.monotonic() - began
    finally:
        end(server.process, grace_s=20.0)
