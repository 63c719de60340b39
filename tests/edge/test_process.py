"""The process as its operator sees it: exit codes, addresses, logs."""

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit

import pytest
import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import Http, WebSocket, request, sse, websocket
from tests.edge.process import Flowd, command


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="flowd") as folder:
        yield Path(folder)


async def test_status_exits_0_when_healthy(shared: Flowd) -> None:
    url = f"http://127.0.0.1:{shared.port}"

    table = await trio.to_thread.run_sync(command, "status", "--url", url)
    whole = await trio.to_thread.run_sync(command, "status", "--json", "--url", url + "/")

    assert (table.returncode, whole.returncode) == (0, 0)
    assert "healthy" in table.stdout
    assert "orders" in table.stdout
    assert json.loads(whole.stdout)["healthy"] is True


async def test_status_exits_1_when_degraded(flowd: Start) -> None:
    with flowd() as daemon:
        daemon.source["url"] = "ws://127.0.0.1:9/market"
        daemon.write()
        await daemon.start(delivering=False)
        env = {"FLOWD_URL": f"http://127.0.0.1:{daemon.port}"}

        found = await trio.to_thread.run_sync(lambda: command("status", env=env))

        assert found.returncode == 1
        assert "degraded" in found.stdout


def test_status_exits_3_where_there_is_no_daemon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    found = command("status", "--url", f"http://127.0.0.1:{port}")

    assert found.returncode == 3
    assert "not answering" in found.stderr
    assert "Traceback" not in found.stderr


async def test_tail_follows_a_real_daemon(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(3)[-1])
        url = f"http://127.0.0.1:{daemon.port}"
        line = ["tail", "orders", "-n", "2", "--url", url]

        async with trio.open_nursery() as nursery:
            ended = []

            async def follow() -> None:
                ended.append(await trio.to_thread.run_sync(lambda: command(*line)))

            nursery.start_soon(follow)
            await daemon.settled(lambda found: found["clients"]["live"] == 1)
            await daemon.stop()

        numbers = [json.loads(text)["value"]["price"] for text in ended[0].stdout.splitlines()]
        assert numbers == ["2", "3"]
        assert "Traceback" not in ended[0].stderr


async def test_it_listens_on_several_addresses_and_on_a_unix_socket(
    flowd: Start, exchange: Exchange, short: Path
) -> None:
    path = short / "s"
    with flowd(listen=["127.0.0.1:0", "[::1]:0", f"unix:{path}"]) as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(2)[-1])
        line = next(line for line in daemon.log.splitlines() if "serves on" in line)
        assert f"unix:{path}" in line
        six = int(line.partition("http://[::1]:")[2].partition("/")[0])

        for open_one in (partial(trio.open_unix_socket, path), partial(open_six, six)):
            peer = Http(await open_one())
            for page in ("/streams/orders", "/health", "/streams/orders"):
                assert (await peer.ask(page)).status == 200
            await peer.stream.aclose()
            async with websocket(0, "/ws?streams=orders", stream=await open_one()) as ws:
                assert isinstance(ws, WebSocket)
                await ws.message()
                async with sse(0, stream=await open_one()) as events:
                    (live,) = exchange.say()
                    await events.upto(live)
                    await ws.upto(live)
        assert stat.S_ISSOCK(path.stat().st_mode)

        await daemon.kill()
        assert path.exists()
        await daemon.start()

        stream = await trio.open_unix_socket(str(path))
        assert (await Http(stream).ask("/health")).status == 200
        await stream.aclose()


async def test_a_second_daemon_that_is_refused_takes_nobodys_socket_away(
    flowd: Start, short: Path
) -> None:
    path = short / "s"
    with flowd(listen=["127.0.0.1:0", f"unix:{path}"]) as daemon:
        await daemon.start()

        second = await trio.to_thread.run_sync(command, "run", "-c", str(daemon.config))

        assert second.returncode == 2
        stream = await trio.open_unix_socket(str(path))
        assert (await Http(stream).ask("/health")).status == 200
        await stream.aclose()


async def open_six(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("::1", port)


async def test_clients_of_a_unix_socket_are_told_apart_by_nobody(flowd: Start, short: Path) -> None:
    path = short / "s"
    with flowd(listen=["127.0.0.1:0", f"unix:{path}"], max_clients_per_address=1) as daemon:
        await daemon.start()
        async with (
            sse(0, stream=await trio.open_unix_socket(str(path))) as one,
            sse(0, stream=await trio.open_unix_socket(str(path))) as other,
        ):
            assert (one.status, other.status) == (200, 503)


async def test_a_file_that_is_no_socket_is_left_alone(flowd: Start, short: Path) -> None:
    path = short / "s"
    path.write_text("precious")
    with flowd(listen=f"unix:{path}") as daemon:
        ended = await trio.to_thread.run_sync(command, "run", "-c", str(daemon.config))

        assert ended.returncode == 2
        assert str(path) in ended.stderr
        assert path.read_text() == "precious"


async def test_the_log_has_a_line_per_change_and_none_per_record(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(500)[-1])
        async with sse(daemon.port), websocket(daemon.port):
            for _ in range(50):
                await daemon.get("/streams/orders")
                await daemon.get("/nowhere")
        await daemon.stop()

        assert len(daemon.log.splitlines()) == 4


async def test_the_log_may_be_json_and_every_line_of_it_is(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(log_format="json") as daemon:
        daemon.spawn()
        await daemon.until(lambda: trio.to_thread.run_sync(lambda: exchange.dials), bool)
        exchange.cut()
        await daemon.until(lambda: trio.to_thread.run_sync(lambda: exchange.dials > 1), bool)
        await daemon.stop()

        lines = [json.loads(line) for line in daemon.log.splitlines()]
        assert len(lines) >= 5
        assert {"message", "level", "timestamp"} <= set(lines[0])


async def test_below_journald_lines_begin_with_their_level(flowd: Start) -> None:
    with flowd(env={"JOURNAL_STREAM": "8:1"}) as daemon:
        await daemon.start()
        await daemon.stop()

        assert all(line.startswith("<6>") for line in daemon.log.splitlines())


async def test_it_reaches_for_as_many_files_as_its_clients_may_need(flowd: Start) -> None:
    with flowd(max_clients=3000) as daemon:
        await daemon.start()

        assert prlimit(daemon.pid, RLIMIT_NOFILE)[0] >= 3000


async def test_the_state_lies_in_the_state_directory_of_systemd(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        folder = daemon.folder / "var"
        daemon.settings["state"] = "own.db"
        daemon.env["STATE_DIRECTORY"] = f"{folder}:/elsewhere"
        daemon.write()
        await daemon.start()
        await daemon.stop()

        assert (folder / "own.db").exists()


async def test_a_thousand_connections_come_and_go_and_leave_nothing(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say()[-1])
        await daemon.get("/status")
        before = daemon.files()

        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(_visit, daemon, number % 4)
        await daemon.settled(
            lambda found: (
                found["clients"]["live"] == 0 and found["clients"]["connections_open"] <= 1
            )
        )

        assert daemon.files() <= before + 2
        assert len(os.listdir(f"/proc/{daemon.pid}/task")) < 50


async def _visit(daemon: Flowd, kind: int) -> None:
    if kind == 0:
        async with sse(daemon.port) as events:
            await events.upto(1)
    elif kind == 1:
        async with websocket(daemon.port, "/ws?streams=orders") as ws:
            await ws.upto(1)
    elif kind == 2:
        assert (await daemon.get("/streams/orders")).status == 200
    else:
        assert (await daemon.get("/health")).status == 200


def test_the_kit_asks_what_it_means_to_ask() -> None:
    assert request("/x", body=b"ab").endswith(b"\r\nContent-Length: 2\r\n\r\nab")


@pytest.mark.parametrize(("listen", "lines"), [("127.0.0.1:0", 0), ("0.0.0.0:0", 1)])
async def test_a_public_address_without_an_admin_is_said_in_one_line(
    listen: str, lines: int, flowd: Start
) -> None:
    daemon = await flowd(listen=listen).start(delivering=False)
    await daemon.stop()

    assert daemon.log.count("set flowd.admin_token") == lines
