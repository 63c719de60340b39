"""READY, STOPPING and WATCHDOG to systemd, over a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.operate.notify import notify, passed_sockets, watchdog_s


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        yield one


def test_systemd_hears_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch, systemd: socket.socket, tmp_path: Path
) -> None:
    systemd.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    told = notify("READY=1\nSTATUS=serving 3 streams")

    assert told
    assert systemd.recv(1000) == b"READY=1\nSTATUS=serving 3 streams"


def test_an_abstract_socket_will_do(
    monkeypatch: pytest.MonkeyPatch, systemd: socket.socket
) -> None:
    systemd.bind(f"\0flowd-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@flowd-test-{os.getpid()}")

    told = notify("WATCHDOG=1")

    assert told
    assert systemd.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "/no/such/socket", "@nobody-listens-here"])
def test_without_systemd_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "every_s"),
    [
        ("30000000", None, 30.0),
        pytest.param("500000", str(os.getpid()), 0.5, id="ours"),
        ("30000000", "1", None),
        ("", None, None),
        ("often", None, None),
        (None, None, None),
    ],
)
def test_how_often_the_watchdog_wants_to_hear(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, every_s: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is not None:
            monkeypatch.setenv(name, value)

    assert watchdog_s() == every_s


@pytest.mark.parametrize(
    ("pid", "count", "descriptors"),
    [
        pytest.param(str(os.getpid()), "2", [3, 4], id="ours, two"),
        pytest.param(str(os.getpid()), "0", [], id="ours, none"),
        pytest.param(str(os.getpid()), "", [], id="ours, no count"),
        pytest.param(str(os.getpid()), "some", [], id="ours, some"),
        ("1", "2", []),
        (None, "2", []),
    ],
)
def test_the_sockets_that_systemd_opened_for_us(
    monkeypatch: pytest.MonkeyPatch, pid: str | None, count: str, descriptors: list[int]
) -> None:
    if pid is not None:
        monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", count)

    assert passed_sockets() == descriptors


def test_what_is_for_the_process_that_unpacked_us_is_for_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = str(os.getppid())
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", parent)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", parent)
    assert (passed_sockets(), watchdog_s()) == ([], None)

    monkeypatch.setattr("sys.frozen", True, raising=False)

    assert (passed_sockets(), watchdog_s()) == ([3, 4], 10.0)
    monkeypatch.setenv("LISTEN_PID", "1" if parent != "1" else "2")
    assert passed_sockets() == []
