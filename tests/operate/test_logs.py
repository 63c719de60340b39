"""Log files, one for each component, and what `flowd logs` shows of them or of the journal."""

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner, Result

from flowd import cli
from flowd.operate import logs
from flowd.operate.log import Files, configure, keep
from flowd.values.errors import UserError

NAMES = ("orders", "candles-5m")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if isinstance(handler, Files):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    configure()
    keep(tmp_path / "logs", NAMES, 64 * 1024)
    return tmp_path / "logs"


def read(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text(encoding="utf-8")


def say(*lines: str) -> None:
    for line in lines:
        logging.getLogger("flowd").warning(line)


def test_each_component_has_a_file_and_the_daemon_the_rest(folder: Path) -> None:
    say("orders: silent for 60s", "candles-5m: connected", "flowd 0.1.0 serves", "nobody: hello")

    assert read(folder, "orders").splitlines()[0].endswith("WARNING orders: silent for 60s")
    assert "connected" in read(folder, "candles-5m")
    assert "connected" not in read(folder, "orders")
    assert read(folder, "flowd").count("\n") == 2


async def test_what_a_components_task_says_is_the_components(folder: Path) -> None:
    async def speaks() -> None:
        await trio.lowlevel.checkpoint()
        say("a library says no name")

    async def within() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(speaks)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(within, name="component orders")

    assert "a library says no name" in read(folder, "orders")
    assert "library" not in read(folder, "flowd")


def test_a_traceback_is_in_the_file_of_whom_it_is_about(folder: Path) -> None:
    try:
        raise ValueError("a bug")
    except ValueError:
        logging.getLogger("flowd").exception("orders: failed")

    assert read(folder, "orders").endswith("ValueError: a bug\n")


def test_files_take_no_more_than_they_may(folder: Path) -> None:
    for number in range(3000):
        say(f"orders: line {number} {'x' * 50}")

    files = sorted(path.name for path in folder.glob("orders*"))
    assert files == ["orders.log", "orders.log.1"]
    assert sum((folder / name).stat().st_size for name in files) <= 64 * 1024
    assert "line 2999 " in read(folder, "orders")


def test_a_disk_that_takes_nothing_is_said_once_and_stops_nobody(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, record: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowd.operate.log.RotatingFileHandler.emit", full)

    say(*["orders: x"] * 5)

    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_folder_that_cannot_be_had_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r'flowd\.log_dir = ".*": cannot be written'):
        keep(tmp_path / "file" / "logs", NAMES, 64 * 1024)


# -- the command --


def written(folder: Path, text: str) -> Path:
    file = folder / "flowd.toml"
    orders = '[sources.orders]\nkind = "binance-force-order"\nsymbols = ["*"]\n'
    file.write_text(f"[flowd]\n{text}\n{orders}", encoding="utf-8")
    return file


def flowd(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["logs", *map(str, arguments)])


def test_the_newest_lines_are_shown_over_both_files(folder: Path, tmp_path: Path) -> None:
    file = written(tmp_path, f'log_dir = "{folder}"')
    (folder / "orders.log.1").write_text("one\ntwo\n")
    (folder / "orders.log").write_text("three\n")

    assert flowd("orders", "-c", file, "-n", 2).stdout == "two\nthree\n"
    assert flowd("orders", "-c", file).stdout == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("edge-1.orders", "edge-1/orders"),
        ("edge-12.upstream", "edge-12/upstream"),
        ("parent.flowd", "parent/flowd"),
        ("ingest.edges", "edges"),
        ("edges", "edges"),
    ],
)
def test_of_several_processes_one_is_named_as_health_does(
    name: str, file: str, folder: Path, tmp_path: Path
) -> None:
    path = folder / f"{file}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text("one\n")

    assert flowd(name, "-c", written(tmp_path, f'log_dir = "{folder}"')).stdout == "one\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("order", 'Did you mean "orders"?'),
        ("edge-1.order", 'Did you mean "orders"?'),
        ("edge.orders", 'no component "edge.orders"'),
        ("orders", "there is no such file yet"),
        ("edge-1.orders", "edge-1/orders.log: there is no such file yet"),
    ],
)
def test_a_component_that_is_none_or_said_nothing_is_told(
    name: str, told: str, folder: Path, tmp_path: Path
) -> None:
    found = flowd(name, "-c", written(tmp_path, f'log_dir = "{folder}"'))

    assert found.exit_code == 2
    assert told in found.stderr


def test_without_files_and_journal_it_says_how_to_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    found = flowd("orders", "-c", written(tmp_path, ""))

    assert found.exit_code == 2
    assert "set it, such as log_dir" in found.stderr


JOURNAL = """#!/bin/sh
echo "$*" >> {told}
case "$*" in
*--show-cursor*) printf '%s\n' "orders: third" "-- cursor: s=1;i=9" ;;
*--reverse*) printf '%s\n' "3 orders: third" "-- Boot 5e --" "2 orders: second" "1 orders: first" ;;
*) printf 'went on\n' ;;
esac
"""
"""A journalctl: lines that match are the newest first, as those of the real one are."""


class Became(Exception):
    """The process would be another one from here on."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal's program alone on the path; the file has what it was asked."""
    told, program = tmp_path / "told", tmp_path / "journalctl"
    program.write_text(JOURNAL.format(told=told))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def become(name: str, words: list[str]) -> None:
        with told.open("a") as file:
            file.write("became " + " ".join(words[1:]) + "\n")
        raise Became

    monkeypatch.setattr(os, "execvp", become)
    return told


def test_without_files_the_journals_lines_of_the_component_are_shown_oldest_first(
    journal: Path, tmp_path: Path
) -> None:
    found = flowd("orders", "-c", tmp_path / "none.toml", "--unit", "flowd@a", "-n", 5)

    assert found.exit_code == 0
    assert found.stdout == "1 orders: first\n2 orders: second\n3 orders: third\n"
    assert journal.read_text().splitlines()[1:] == [
        "--unit=flowd@a --no-pager --output=short-iso --grep=^(\\[[a-z0-9-]+\\] )?orders:  "
        "--lines=5 --reverse --cursor=s=1;i=9"
    ]


@pytest.mark.parametrize(
    ("name", "asked"), [("edge-1.orders", "edge-1\\] orders: "), ("edge-1.flowd", "edge-1\\] ")]
)
def test_the_journals_lines_of_one_process_begin_with_its_name(
    name: str, asked: str, journal: Path, tmp_path: Path
) -> None:
    flowd(name, "-c", tmp_path / "none.toml")

    assert f" --grep=^\\[{asked} --lines=100 " in journal.read_text()


def test_following_the_journal_goes_on_where_the_past_ended(journal: Path, tmp_path: Path) -> None:
    found = flowd("orders", "-c", tmp_path / "none.toml", "-f")

    assert isinstance(found.exception, Became)
    assert found.stdout.endswith("3 orders: third\n")
    assert journal.read_text().splitlines()[-1] == (
        "became --unit=flowd --no-pager --output=short-iso --grep=^(\\[[a-z0-9-]+\\] )?orders:  "
        "--follow --no-tail --after-cursor=s=1;i=9"
    )


def test_the_daemons_own_journal_is_all_of_it(journal: Path, tmp_path: Path) -> None:
    flowd("flowd", "-c", written(tmp_path, ""), "-f")

    assert journal.read_text() == (
        "became --unit=flowd --no-pager --lines=100 --output=short-iso --follow\n"
    )


def test_a_journal_without_the_unit_says_how_to_name_another(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\n")

    found = flowd("orders", "-c", tmp_path / "none.toml", "--unit", "fowd")

    assert (found.exit_code, found.stdout) == (2, "")
    assert 'no line of the unit "fowd"; name another with --unit' in found.stderr


def test_following_goes_on_over_the_change_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "orders.log"
    path.write_text("before\n")
    looked = 0

    def look(_: float) -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            with path.open("a") as text:
                text.write("last of the old\n")
            path.rename(folder / "orders.log.1")
            path.write_text("first of the new\n")

    monkeypatch.setattr(logs.time, "sleep", look)

    found = list(islice(logs.following(path), 2))

    assert found == ["last of the old\n", "first of the new\n"]
