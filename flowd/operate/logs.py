"""What `flowd logs` shows: what one component said, from its files or from systemd's journal."""

import os
import re
import shutil
import sys
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from flowd.operate.log import DAEMON
from flowd.setup import config
from flowd.values.errors import UserError, did_you_mean

LOOK_EVERY_S = 0.5


def show(name: str, file: Path, *, unit: str, lines: int, follow: bool) -> None:
    """Write the newest lines of a component to standard output, and go on with what comes if it is
    to be followed. UserError when there is no such component, or nothing that keeps logs.

    Where the configuration has no `log_dir`, the journal's own program takes our place.
    """
    document = _document(file)
    names = [name for table in config.TABLES for name in document.get(table, {})]
    if names and name not in (*names, DAEMON):
        raise UserError(f'{file} has no component "{name}"{did_you_mean(name, (*names, DAEMON))}')
    folder = _folder(document)
    if folder is not None:
        _files(folder, name, lines=lines, follow=follow)
        return
    if shutil.which("journalctl") is None:
        raise UserError(
            f"there is no journal on this machine, and flowd.log_dir is not set in {file}: set it, "
            'such as log_dir = "logs", and flowd keeps a file for each component'
        )
    sys.stdout.flush()
    os.execvp("journalctl", journal(name, unit=unit, lines=lines, follow=follow))


def journal(name: str, *, unit: str, lines: int, follow: bool) -> list[str]:
    """The command that asks systemd's journal for one component's lines, or for all of flowd's."""
    command = ["journalctl", f"--unit={unit}", f"--lines={lines}", "--output=short-iso"]
    if name != DAEMON:
        command.append(f"--grep=^{re.escape(name)}: ")
    return [*command, "--follow" if follow else "--no-pager"]


def _document(file: Path) -> dict[str, Any]:
    """The configuration as it is written; without one there is still the journal."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


def _folder(document: dict[str, Any]) -> Path | None:
    wanted = document.get("flowd", {}).get("log_dir")
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
