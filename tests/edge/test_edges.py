"""`flowd run --edges 2`: several processes that are one daemon, whatever is killed of them."""

import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.exchange import Exchange
from tests.edge.followers import Follower
from tests.edge.peers import Answer
from tests.edge.process import ADMIN, ADMIN_TOKEN, STOP_S, Flowd, command
from tests.edge.redis import RedisServer, program
from tests.edge.test_redis_edges import EDGE

EXTRA = """
[transforms.volume]
kind = "liquidation-volume"
input = "orders"

[sinks.history]
kind = "history"
inputs = ["orders"]
path = "{folder}/history.db"
"""
SINK = """
[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["*"]
"""
EDGES = ("edge-1", "edge-2")
ALL = ("server", "ingest", *EDGES)


class Several(Flowd):
    """A daemon of two edges, as its parent."""

    @property
    def folder_of_sockets(self) -> Path:
        found = re.findall(r"serves on unix:(\S+)/ingest.sock", self.log)
        return Path(found[-1])

    async def at(self, process: str, path: str) -> bytes:
        """What one process answers, asked by its own socket."""
        socket = self.folder_of_sockets / f"{process}.sock"
        async with await trio.open_unix_socket(str(socket)) as stream:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            await stream.send_all(request.encode())
            data = b"".join([piece async for piece in stream])
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), data
        return body

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """As any, one after the other."""
        self.tell(number)
        assert await self.ended(3 * STOP_S) == 0, self.log

    async def get(self, path: str, **headers: str) -> Answer:
        """Who was at an edge that is killed comes back, to another one."""
        while True:
            with suppress(OSError, EOFError, trio.BrokenResourceError):
                return await super().get(path, **headers)
            await trio.lowlevel.checkpoint()

    async def rows(self) -> dict[str, dict[str, Any]]:
        """The processes, by name."""
        return {row["name"]: row for row in (await self.status())["processes"]}

    async def back(self, process: str, pid: int) -> None:
        """Wait until a process that was killed serves again."""

        def well(rows: dict[str, Any]) -> bool:
            row = rows[process]
            return row["pid"] not in (None, pid) and row["state"] == "running"

        await self.until(self.rows, well, 60)


def children(pid: int) -> set[int]:
    """The processes that a process started and those that they did."""
    found = set[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found |= {int(folder.name)} | children(int(folder.name))
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of them that run."""
    left = set[int]()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            left.add(pid)
    return left


async def _alive(pids: set[int]) -> set[int]:
    await trio.lowlevel.checkpoint()
    return alive(pids)


@asynccontextmanager
async def several(
    exchange: Exchange, folder: Path, extra: str = "", **settings: Any
) -> AsyncIterator[Several]:
    """It runs; at the end it is stopped, in order, and leaves nothing."""
    program()
    extra = EXTRA.format(folder=folder) + extra
    made = Several(
        folder / "flowd",
        exchange.url,
        settings={"edges": 2, "admin_token": ADMIN_TOKEN, **settings},
        extra=extra,
        env=ADMIN,
    )
    with made as daemon:
        await daemon.start()
        before = children(daemon.pid)
        yield daemon
        assert daemon.process is not None
        if daemon.process.poll() is None:
            pids = before | children(daemon.pid)
            await daemon.stop()
            assert not alive(pids)
            assert not daemon.folder_of_sockets.exists()
            assert "[ingest] stopped; state saved" in daemon.log
            assert re.search(r"\[edge-1\] stopped$", daemon.log, re.MULTILINE), "it keeps none"
        assert "Traceback" not in daemon.log


async def test_two_edges_are_one_daemon(exchange: Exchange, tmp_path: Path) -> None:
    async with several(exchange, tmp_path) as daemon:
        await daemon.reached(exchange.say(50)[-1])

        # Every stream is the same at both, byte by byte, and as the ingest has it.
        for stream in ("orders", "volume", "outages"):

            async def both(stream: str = stream) -> list[bytes]:
                return [await daemon.at(one, f"/streams/{stream}") for one in ("ingest", *EDGES)]

            await daemon.until(both, lambda bodies: len(set(bodies)) == 1)

        # The kernel gives each its part.
        async def connected() -> list[int]:
            for _ in range(10):
                await daemon.get("/streams/orders?limit=1")
            found = [await daemon.get(f"/status?process={edge}") for edge in EDGES]
            return [one.json["clients"]["requests"].get("hot", 0) for one in found]

        await daemon.until(connected, lambda hot: min(hot) > 3)

        # What only the ingest has is asked of it.
        async def written() -> list[int]:
            history = (await daemon.get("/streams/orders/history?limit=100")).json
            return [one["seq"] for one in history["records"]]

        await daemon.until(written, lambda seqs: seqs == list(range(1, 51)))
        assert "/streams/{name}/history" in (await daemon.get("/openapi.json")).json["paths"]
        assert (await daemon.get("/health/orders")).json["delivering"]
        assert (await daemon.get("/health/edge-1")).json["clients"] == 0
        refused = await daemon.get("/health/nobody")
        assert refused.status == 404
        assert "edge-2" in refused.error["allowed"]

        dials = exchange.dials
        assert (await _post(daemon, "/components/orders/reconnect")).startswith(b"HTTP/1.1 202 ")
        await daemon.until(partial(_dials, exchange), lambda now: now > dials)

        # One status, one health, one set of metrics, whoever answers.
        status = await daemon.status()
        assert [row["name"] for row in status["processes"]] == list(ALL)
        assert status["healthy"]
        assert status["limits"]["max_clients"] == 1000
        assert {"orders", "volume", "history", "http"} < {p["name"] for p in status["components"]}
        metrics = (await daemon.get("/metrics")).body.decode()
        for process in ALL[1:]:
            assert f'flowd_up{{process="{process}"}} 1.0' in metrics
        assert 'flowd_process_running{process="server"} 1.0' in metrics
        assert (
            'flowd_component_published_total{component="orders",process="ingest"} 50.0' in metrics
        )
        assert metrics.count("# TYPE flowd_up gauge") == 1


async def test_its_own_processes_are_no_peers_and_another_daemon_is(
    exchange: Exchange, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        await redis.start()
        async with several(exchange, tmp_path, SINK.format(url=redis.url)) as daemon:
            with Flowd(tmp_path / "other", None, extra=EDGE.format(url=redis.url)) as other:
                await other.start()
                heard = await other.settled(lambda status: len(status["peers"]) == 3)
                await daemon.settled(lambda status: status["peers"])
                all_say = [await daemon.get(f"/status?process={one}") for one in ALL[1:]]
                told = await daemon.status()
                metrics = (await daemon.get("/metrics")).body.decode()
                await other.stop()

    pids = {row["pid"] for row in told["processes"]}
    assert {peer["pid"] for peer in heard["peers"]} == pids
    edges = [peer["addresses"][0] for peer in heard["peers"] if peer["role"] == "edge"]
    assert edges == 2 * [f"http://127.0.0.1:{daemon.port}/"], "where others can reach them"
    for said in [told, *(one.json for one in all_say)]:
        assert not pids & {peer["pid"] for peer in said["peers"]}
    (peer,) = told["peers"]
    assert peer["addresses"] == [f"http://127.0.0.1:{other.port}/"]
    assert 'flowd_peers{process="ingest",role="edge"} 1.0' in metrics


async def test_whoever_is_killed_is_back_and_readers_miss_nothing(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with several(exchange, tmp_path) as daemon:
        readers = [Follower("orders", way) for way in ("websocket", "events") * 3]

        async def follow(reader: Follower) -> None:
            while True:
                await reader.follow(daemon.port)
                await trio.sleep(0.05)

        async def said(number: int) -> None:
            last = exchange.say(number)[-1]

            async def least() -> int:
                await trio.lowlevel.checkpoint()
                return min(reader.seq for reader in readers)

            await daemon.until(least, lambda seq: seq >= last, 60)

        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(follow, reader)
            await said(20)
            for process in ("edge-1", "server"):
                pid = (await daemon.rows())[process]["pid"]
                os.kill(pid, signal.SIGKILL)
                if process == "edge-1":
                    exchange.say(20)
                await daemon.back(process, pid)
                await daemon.until(
                    partial(daemon.get, "/health"), lambda one: one.status == 200, 60
                )
                await said(20)
            nursery.cancel_scope.cancel()

        assert all(list(reader.told) == list(range(1, 81)) for reader in readers)
        rows = await daemon.rows()
        assert {name: rows[name]["restarts"] for name in ALL} == {
            **{"server": 1, "ingest": 0, "edge-1": 1, "edge-2": 0}
        }


async def test_the_ingest_comes_back_and_without_the_parent_none_stays(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with several(exchange, tmp_path, edges=1) as daemon:
        before = await daemon.reached(exchange.say(10)[-1])
        pid = (await daemon.rows())["ingest"]["pid"]
        os.kill(pid, signal.SIGKILL)

        # What edges have is served meanwhile; what only the ingest has is refused for a while.
        assert (await daemon.poll())["records"]
        refused = await daemon.get("/streams/orders/history")
        assert (refused.status, refused.error["code"]) == (503, "UNAVAILABLE")
        await daemon.until(_health(daemon), lambda problems: "ingest" in problems)
        await daemon.back("ingest", pid)
        await daemon.until(_health(daemon), lambda problems: not problems)
        await daemon.reached(exchange.say(10)[-1])
        after = await daemon.poll(f"?after={before['position']}")
        assert (after["reset"], after["gap"]) == (False, None)
        assert [record["seq"] for record in after["records"]] == list(range(11, 21))

        pids, folder = children(daemon.pid), daemon.folder_of_sockets
        assert len(pids) >= 3
        await daemon.kill()
        await daemon.until(partial(_alive, pids), lambda left: not left)
        assert not folder.exists()
        with pytest.raises(OSError, match="refused"):
            await super(Several, daemon).get("/health")


def _health(daemon: Flowd) -> Callable[[], Awaitable[dict[str, str]]]:
    async def problems() -> dict[str, str]:
        found: dict[str, str] = (await daemon.get("/health")).json["problems"]
        return found

    return problems


async def _post(daemon: Flowd, path: str) -> bytes:
    token = ADMIN["EDGE_ADMIN_TOKEN"]
    async with await trio.open_tcp_stream("127.0.0.1", daemon.port) as stream:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nContent-Length: 0\r\n"
        await stream.send_all(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        return b"".join([piece async for piece in stream])


async def _dials(exchange: Exchange) -> int:
    await trio.lowlevel.checkpoint()
    return exchange.dials


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "flowd.toml"
    file.write_text(
        f'[flowd]\nedges = 2\nlisten = "127.0.0.1:0"\nstate = "{tmp_path}/flowd.db"\n'
        '[sources.orders]\nkind = "binance-force-order"\nsymbols = ["*"]\n'
        '[sinks.http]\nkind = "http"\n'
    )
    yield file
    assert not (tmp_path / "flowd.db").exists()


def test_without_a_server_program_it_says_what_to_install(written: Path) -> None:
    found = command("run", "-c", str(written), env={"PATH": "/nowhere"})

    assert found.returncode == 2
    assert "apt install redis-server" in found.stderr


def test_a_port_that_is_taken_is_said_before_anything_starts(written: Path) -> None:
    with Exchange() as other:
        port = other.url.rpartition(":")[2].partition("/")[0]
        found = command("run", "-c", str(written), env={"FLOWD__LISTEN": f"127.0.0.1:{port}"})

    assert found.returncode == 2
    assert "is another flowd running there?" in found.stderr
