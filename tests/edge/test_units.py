"""The units we ship, run by a real systemd, where flowd is several processes."""

import os
import re
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from tests.edge.booted import ROOT, Booted
from tests.edge.exchange import Exchange
from tests.edge.peers import GONE, fetch
from tests.edge.process import Flowd, free_port
from tests.edge.redis import program

UNIT = "flowd.service"
NAMES = {"server", "ingest", "edge-1", "edge-2"}
START_S = 60.0


class Service(Flowd):
    """A daemon of two edges that systemd runs, by the unit as it is shipped and a drop-in."""

    systemd: Booted

    async def rows(self) -> dict[str, dict[str, Any]]:
        """What is said of its processes, by name; nothing where nobody answers."""
        with suppress(*GONE):
            return {row["name"]: row for row in (await self.status())["processes"]}
        return {}

    async def whole(self) -> None:
        """Wait until all its processes run."""

        def well(rows: dict[str, Any]) -> bool:
            return {name for name, row in rows.items() if row["state"] == "running"} == NAMES

        await self.until(self.rows, well, START_S)

    def found(self, name: str = "") -> int:
        """The id of a process, out here; without a name of the first one."""
        end = f" --process {name}" if name else "run -c /etc/flowd/flowd.toml"
        (pid,) = (pid for pid, line in self.pids.items() if line.endswith(end))
        return pid

    @property
    def pids(self) -> dict[int, str]:
        """The command lines of all, by their ids."""
        return self.systemd.processes(UNIT)

    def shows(self, name: str) -> str:
        """A property of the service."""
        return self.systemd.shows(UNIT, name)

    def told(self) -> str:
        """All that it ever wrote."""
        return self.systemd.read("/run/flowd.log")


@asynccontextmanager
async def service(exchange: Exchange, folder: Path, *drop_in: str) -> AsyncIterator[Service]:
    """It runs, and takes what comes to a port that systemd holds."""
    program()
    settings = {"edges": 2, "state": "flowd.db", "listen": "127.0.0.1:1"}
    daemon = Service(folder / "flowd", exchange.url, settings=settings)
    daemon.port = free_port()
    log = [f"Standard{name}=append:/run/flowd.log" for name in ("Output", "Error")]
    socket = f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{daemon.port}\n"
    files = {
        "/etc/flowd/flowd.toml": daemon.config.read_text(),
        f"/etc/units/{UNIT}": (ROOT / "systemd" / UNIT).read_text(),
        f"/etc/units/{UNIT}.d/test.conf": "\n".join(["[Service]", *log, *drop_in, ""]),
        "/etc/units/flowd.socket": (ROOT / "systemd/flowd.socket").read_text(),
        "/etc/units/flowd.socket.d/test.conf": socket,
    }
    with Booted(folder / "systemd", files) as daemon.systemd:
        await daemon.systemd.up()
        await ask(daemon, "start", "flowd.socket", UNIT)
        yield daemon
        assert "Traceback" not in daemon.told()


async def ask(daemon: Service, *words: str) -> str:
    """`systemctl`, while everything goes on here."""
    return await trio.to_thread.run_sync(lambda: daemon.systemd.run("systemctl", *words))


async def test_several_processes_are_one_service(exchange: Exchange, tmp_path: Path) -> None:
    async with service(exchange, tmp_path, "LimitNOFILE=4000") as daemon:
        # It has said that it is ready: all are.
        assert {name: row["state"] for name, row in (await daemon.rows()).items()} == {
            name: "running" for name in NAMES
        }
        assert daemon.shows("StatusText") == "serving with edges = 2"
        before = await daemon.reached(exchange.say(10)[-1])

        # Each may have as many files as the unit says, and what is between them is in a folder that
        # is gone with them.
        pids = [daemon.found(name) for name in ("", "ingest", "edge-1", "edge-2")]
        limits = [resource.prlimit(pid, resource.RLIMIT_NOFILE)[1] for pid in pids]
        assert limits == [4000] * 4
        assert re.search(r"unix:/run/flowd/flowd-[^/]*/edge-1.sock", daemon.told())

        # Clients are the edges', whoever holds the port.
        own = r"\[ingest\] flowd \S+ serves on unix:/\S+/ingest.sock$"
        assert re.search(own, daemon.told(), re.MULTILINE)

        # An edge that is killed is the first one's trouble, not systemd's.
        first, edge = daemon.found(), daemon.found("edge-1")
        os.kill(edge, signal.SIGKILL)
        await daemon.until(daemon.rows, lambda rows: rows.get("edge-1", {}).get("restarts"), 60)
        await daemon.whole()
        assert (daemon.found(), daemon.shows("NRestarts")) == (first, "0")

        # A restart refuses nobody and goes on; there is nothing to reload.
        assert "not applicable" in daemon.systemd.run("systemctl", "reload", UNIT, good=False)
        refused: list[Exception] = []
        asked = 0

        async def knock() -> None:
            nonlocal asked
            while True:
                try:
                    await fetch(daemon.port, "/streams/orders?limit=1")
                except GONE as error:
                    refused.append(error)
                asked += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock)
            await ask(daemon, "restart", UNIT)
            nursery.cancel_scope.cancel()
        assert not [error for error in refused if isinstance(error, ConnectionRefusedError)]
        assert asked
        await daemon.whole()
        await daemon.reached(exchange.say(10)[-1])
        after = await daemon.poll(f"?after={before['position']}")
        assert (after["reset"], after["gap"]) == (False, None)
        assert [record["seq"] for record in after["records"]] == list(range(11, 21))

        # It ends in order, and nothing of it stays.
        await ask(daemon, "stop", "flowd.socket", UNIT)
        assert (daemon.shows("Result"), daemon.shows("ExecMainStatus")) == ("success", "0")
        assert daemon.told().count("[ingest] stopped; state saved") == 2
        assert daemon.pids == {}
        assert daemon.systemd.run("find", "/run", "/tmp", "-name", "flowd-*") == ""


async def test_without_the_first_none_stays_and_all_are_started_again(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with service(exchange, tmp_path, "WatchdogSec=3") as daemon:
        before = await daemon.reached(exchange.say(10)[-1])

        # Killed, or stuck: then it is systemd's watchdog who ends it.
        for restarts, number in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):
            pids = set(daemon.pids)
            os.kill(daemon.found(), number)

            async def again(restarts: int = restarts) -> tuple[str, str]:
                await trio.lowlevel.checkpoint()
                return daemon.shows("NRestarts"), daemon.shows("ActiveState")

            await daemon.until(again, lambda now, n=restarts: now == (str(n), "active"), START_S)
            await daemon.whole()
            assert not pids & set(daemon.pids)

        after = await daemon.poll(f"?after={before['position']}")
        assert (after["reset"], after["gap"]) == (False, None)
        await daemon.reached(exchange.say(1)[-1])


async def test_an_edge_that_does_not_end_has_the_state_saved_all_the_same(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with service(exchange, tmp_path, "TimeoutStopSec=2") as daemon:
        await daemon.reached(exchange.say(10)[-1])
        os.kill(daemon.found("edge-1"), signal.SIGSTOP)

        await ask(daemon, "stop", UNIT)

        assert daemon.shows("Result") == "success", daemon.told()
        assert "edge-1 does not end: it is killed" in daemon.told()
        assert "[ingest] stopped; state saved" in daemon.told()
        assert daemon.pids == {}
