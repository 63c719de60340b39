"""What `flowd logs` shows: what one component said, from its files or from systemd's journal."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs

from flowd.operate.log import DAEMON
from flowd.operate.others import of_others
from flowd.setup import config
from flowd.setup.shares import INGEST
from flowd.values.environment import TABLES, document
from flowd.values.errors import Mistakes, UserError, did_you_mean

LOOK_EVERY_S = 0.5
PROCESS: Final = r"^(\[[a-z0-9-]+\] )?"
"""How a line begins: where there are several processes, with which it is from."""
NAMED: Final = re.compile(r"(?:(ingest|edge-[0-9]+|parent)\.)?(.+)", re.DOTALL)
"""How a component is named, as `/health` does: of several processes, which one's."""
JOINTS: Final = ("edges", "upstream")
"""What several processes have beside the components of the configuration."""
CURSOR: Final = "-- cursor: "
"""How journalctl begins the line that names a place in the journal."""


def show(name: str, file: Path, *, unit: str, lines: int, follow: bool) -> None:
    """Write the newest lines of a component to standard output, and go on with what comes if it is
    to be followed. UserError when there is no such component, or nothing that keeps logs.

    Where the configuration has no `log_dir`, the journal is asked.
    """
    tables = _tables(file)
    process, part = _named(name)
    names = [name for table in TABLES for name in tables.get(table, {})]
    if names and part not in (*names, *JOINTS, DAEMON):
        raise UserError(f'{file} has no component "{part}"{did_you_mean(part, (*names, DAEMON))}')
    folder = _folder(tables)
    if folder is not None:
        inside = folder if process in ("", INGEST) else folder / process
        _files(inside, part, lines=lines, follow=follow)
        return
    if shutil.which("journalctl") is None:
        raise UserError(
            f"there is no journal on this machine, and flowd.log_dir is not set in {file}: set it, "
            'such as log_dir = "logs", and flowd keeps a file for each component'
        )
    journal(name, unit=unit, lines=lines, follow=follow)


def _named(name: str) -> tuple[str, str]:
    """The process and the component; no process where none is named."""
    found = NAMED.fullmatch(name)
    return ("", name) if found is None else (found[1] or "", found[2])


def journal(name: str, *, unit: str, lines: int, follow: bool) -> NoReturn:
    """Show one component's lines of systemd's journal, or all of flowd's, and do not come back.
    UserError when the unit has none.

    Of lines that match, journalctl shows the newest first, and while it follows it looks for them
    among the newest only. So the past is asked for by itself, up to where the following begins.
    """
    asked = ["journalctl", f"--unit={unit}", "--no-pager"]
    short = "--output=short-iso"
    process, part = _named(name)
    if name == DAEMON:
        _become([*asked, f"--lines={lines}", short, *(["--follow"] if follow else [])])
    whose = rf"^\[{process}\] " if process else PROCESS
    whose += "" if part == DAEMON else f"{re.escape(part)}: "
    matching = [*asked, short, f"--grep={whose}"]
    newest = _asked([*asked, "--lines=1", "--output=cat", "--show-cursor"])
    cursor = next((one for line in newest if (one := line.removeprefix(CURSOR)) != line), None)
    if cursor is None or not lines:
        past = []
    else:
        past = _asked([*matching, f"--lines={lines}", "--reverse", f"--cursor={cursor}"])
    # Between the lines of two boots there is a mark, which fits the other order only.
    for line in reversed([one for one in past if not one.startswith("-- ")]):
        sys.stdout.write(f"{line}\n")
    if follow:
        begin = "--lines=0" if cursor is None else f"--after-cursor={cursor}"
        _become([*matching, "--follow", "--no-tail", begin])
    if cursor is None:
        raise UserError(f'the journal has no line of the unit "{unit}"; name another with --unit')
    sys.exit(0)


def _asked(command: list[str]) -> list[str]:
    """The lines that a command prints; it tells troubles to our standard error."""
    told = subprocess.run(of_others(command), stdout=subprocess.PIPE, check=False)
    return told.stdout.decode(errors="replace").splitlines()


def _become(command: list[str]) -> NoReturn:
    """Have a command take our place."""
    sys.stdout.flush()
    program, *words = of_others(command)
    os.execvp(program, [program, *words])


def _tables(file: Path) -> dict[str, Any]:
    """The configuration as it is meant; without one there is still the journal. A mistake in it is
    for `flowd check`, but that it is no TOML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tomllib.loads(text)
        return document(text, os.environ, Mistakes()).tables
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


def _folder(tables: dict[str, Any]) -> Path | None:
    wanted = tables.get("flowd", {}).get("log_dir")
    if not isinstance(wanted, str):
        return None
    return config.log_dir(attrs.evolve(config.Settings(), log_dir=wanted))


def _files(folder: Path, name: str, *, lines: int, follow: bool) -> None:
    path = folder / f"{name}.log"
    if not path.exists():
        there = sorted(one.stem for one in folder.glob("*.log"))
        raise UserError(f"{path}: there is no such file yet; there are: {', '.join(there) or '-'}")
    for line in newest(path, lines):
        sys.stdout.write(line)
    sys.stdout.flush()
    if follow:
        for line in following(path):
            sys.stdout.write(line)
            sys.stdout.flush()


def newest(path: Path, lines: int) -> list[str]:
    """The last lines of a log, reaching back into the file before."""
    kept: deque[str] = deque(maxlen=lines)
    for one in (path.with_name(f"{path.name}.1"), path):
        if one.exists():
            with one.open(encoding="utf-8", errors="replace") as text:
                kept.extend(text)
    return list(kept)


def following(path: Path) -> Iterator[str]:
    """What is written to a log from now on, over the change from one file to the next."""
    text = path.open(encoding="utf-8", errors="replace")
    text.seek(0, os.SEEK_END)
    try:
        while True:
            if line := text.readline():
                yield line
            elif path.exists() and os.fstat(text.fileno()).st_ino != path.stat().st_ino:
                yield from text
                text.close()
                text = path.open(encoding="utf-8", errors="replace")
            else:
                time.sleep(LOOK_EVERY_S)
    finally:
        text.close()
