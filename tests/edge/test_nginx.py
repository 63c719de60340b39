"""The documented nginx in front of a real daemon: the example is read from the page that has it."""

import re
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowd.door.visit import SEND_TIMEOUT_S
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.nginx import SEVERAL, command, running, three, written
from tests.edge.peers import Http, connect, fetch, http, request, sse, websocket
from tests.edge.process import Flowd, Raw, free_port, prices, until

PAGE = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(BELOW,) = re.findall(r"^```text\n(location /flowd/ .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(BURST,) = map(int, re.findall(r"burst=(\d+)", EXAMPLE))
(OPEN,) = map(int, re.findall(r"limit_conn flowd_open (\d+)", EXAMPLE))
MANY = 12_000
"""Records that no socket's buffer holds."""


@asynccontextmanager
async def proxied(daemon: Flowd, folder: Path) -> AsyncGenerator[int, None]:
    """nginx in front of this daemon."""
    ports = {"server 127.0.0.1:4200;": f"server 127.0.0.1:{daemon.port};"}
    async with running(EXAMPLE, ports, folder) as nginx:
        yield nginx.port


@pytest.mark.parametrize("example", [EXAMPLE, SEVERAL], ids=["one", "several"])
def test_the_example_is_good(example: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [*command(written(tmp_path, example)), "-t"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert "[warn]" not in found.stderr.replace('[warn] the "user" directive', "")


def stays(example: str) -> re.Pattern[str]:
    """The paths that an example takes for those of who stays."""
    (found,) = re.findall(r"location ~ (\S+) ", example)
    return re.compile(found)


def test_every_documented_path_of_who_stays_is_passed_on_as_one() -> None:
    listed = (Path(__file__).parents[2] / "docs/reference/http.md").read_text("utf-8")
    paths = {
        path for path in re.findall(r"`GET (/[^`]+)`", listed) if {"ws", "sse"} & {*path.split("/")}
    }

    assert {"/ws", "/ws/heatmap", "/ws/v1/updates", "/sse/{stream}"} <= paths
    for path in paths:
        assert stays(EXAMPLE).match(path), path
        assert stays(SEVERAL).match(path), path
        assert stays(BELOW).match(f"/flowd{path}"), path
    assert not stays(EXAMPLE).match("/wsomething")


async def test_pages_on_a_port_of_nginx_s_own_may_open_a_websocket(
    flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with proxied(daemon, tmp_path / "nginx") as port:
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        async with websocket(port, "/ws?streams=orders&limit=0", headers=headers) as peer:
            await peer.next("records")


async def test_a_poll_of_a_reader_who_is_slow_is_nginx_s_affair(
    flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemon = await flowd(source={"retain": MANY}).start()
    newest = exchange.say(MANY)[-1]
    await daemon.until(partial(daemon.poll, "?limit=1"), lambda found: prices(found) == [newest])
    # It is prepared by then: from being asked to sending, flowd says nothing to anybody else.
    prepared = await daemon.poll()
    asked = (await daemon.status())["clients"]["requests"]["hot"]

    def taken(status: dict[str, Any]) -> bool:
        polled = status["clients"]["requests"]["hot"] > asked
        return polled and status["memory"]["outgoing_bytes"] == 0

    async with proxied(daemon, tmp_path / "nginx") as port:
        stream = await connect(port, receive_buffer=4096)
        async with stream:
            await stream.send_all(request("/streams/orders"))
            await daemon.settled(taken, within_s=SEND_TIMEOUT_S / 2)
            answer = await Http(stream).answer()

    assert answer.json == prepared
    assert len(answer.body) > 2 * 1024 * 1024


async def test_who_stays_hears_of_a_record_at_once(
    flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with (
        proxied(daemon, tmp_path / "nginx") as port,
        sse(port, "/sse/orders?limit=0") as events,
        websocket(port, "/ws?streams=orders&limit=0") as peer,
    ):
        await peer.next("records")
        numbers = list(exchange.say())
        message = await peer.next("records")
        event = await events.next()

    assert prices(message) == numbers == [event.ordinal]


async def test_who_floods_is_told_to_wait_and_harms_nobody(flowd: Start, tmp_path: Path) -> None:
    daemon = await flowd().start()

    async with proxied(daemon, tmp_path / "nginx") as port:
        told: list[int] = []
        async with http(port, source="127.0.0.2") as peer:
            while 429 not in told and len(told) < 10 * BURST:
                told.append((await peer.ask("/streams/orders")).status)
        other = await fetch(port, "/streams/orders", source="127.0.0.3")

    assert told == [200] * (len(told) - 1) + [429]
    assert len(told) > BURST
    assert other.status == 200


async def test_one_address_has_so_many_connections_and_no_more(
    flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with proxied(daemon, tmp_path / "nginx") as port, AsyncExitStack() as stack:
        told: list[int] = []
        for _ in range(OPEN + 1):
            events = await stack.enter_async_context(sse(port, source="127.0.0.2"))
            told.append(events.status)
        other = await stack.enter_async_context(sse(port, source="127.0.0.3"))

    assert told == [200] * OPEN + [503]
    assert other.status == 200


async def test_flowd_knows_who_comes_and_nginx_lets_nobody_be_an_admin(
    flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd(max_clients_per_address=1, trusted_proxies=["127.0.0.1"]).start()

    async with proxied(daemon, tmp_path / "nginx") as port:
        async with sse(port, source="127.0.0.2") as first:
            again = await fetch(port, "/sse/orders", source="127.0.0.2")
            async with sse(port, source="127.0.0.3") as other:
                statuses = (first.status, again.status, other.status)
        admin = await fetch(port, "/components/orders/reconnect", "POST")

    assert statuses == (200, 503, 200)
    assert again.error["code"] == "TOO_MANY_FROM_ADDRESS"
    assert admin.status == 403


async def test_a_ticket_is_not_in_the_log_of_nginx(flowd: Start, tmp_path: Path) -> None:
    token = Raw('{ env = "EDGE_READ_TOKEN" }')
    options = {"read_token": token, "allow_hosts": ["flow.example.org"]}
    daemon = await flowd(env={"EDGE_READ_TOKEN": "sesame"}, **options).start()
    headers = {"Authorization": "Bearer sesame"}

    async with proxied(daemon, tmp_path / "nginx") as port:
        ticket = (await fetch(port, "/tickets", "POST", headers=headers)).json["ticket"]
        answer = await fetch(port, f"/streams/orders?ticket={ticket}")

    log = (tmp_path / "nginx" / "flowd.log").read_text()
    assert answer.status == 200
    assert "GET /streams/orders" in log
    assert ticket not in log


# -- several daemons


async def come_back(flowd: Start) -> list[Flowd]:
    """Daemons that come back to the port that they had."""
    listen = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    return [await flowd(trusted_proxies=["127.0.0.1"], listen=one).start() for one in listen]


@asynccontextmanager
async def ahead(daemons: list[Flowd], folder: Path) -> AsyncGenerator[int, None]:
    """nginx in front of three daemons."""
    async with running(SEVERAL, three([one.port for one in daemons]), folder) as found:
        yield found.port


async def following(daemon: Flowd) -> int:
    found: int = (await daemon.status())["clients"]["live"]
    return found


async def test_clients_are_spread_and_nobody_has_to_come_back_to_the_same(
    flowd: Start, tmp_path: Path
) -> None:
    daemons = await come_back(flowd)

    async with ahead(daemons, tmp_path / "nginx") as port, AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(sse(port, source="127.0.0.2"))
        found = [await following(daemon) for daemon in daemons]
        inside = [(await fetch(port, path)).status for path in ("/metrics", "/components/orders")]

    assert found == [3, 3, 3]
    assert inside == [403, 403]


async def test_a_daemon_that_is_killed_and_one_that_is_stopped_are_noticed_by_nobody_who_asks(
    flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemons = await come_back(flowd)

    async with ahead(daemons, tmp_path / "nginx") as port:
        await daemons[0].kill()
        first = [(await fetch(port, "/streams/orders?limit=0")).status for _ in range(30)]
        await daemons[1].stop()
        then = [(await fetch(port, "/streams/orders?limit=0")).status for _ in range(30)]
        async with sse(port, "/sse/orders?limit=0", source="127.0.0.2") as events:
            left = await following(daemons[2])
        await daemons[0].start()

        async def asked() -> bool:
            await fetch(port, "/streams/orders?limit=0")
            return (await daemons[0].status())["clients"]["requests"].get("hot", 0) > 0

        # Once the time is over for which nginx leaves it out.
        await until(asked, bool)

    assert first == then == [200] * 30
    assert (events.status, left) == (200, 1)
