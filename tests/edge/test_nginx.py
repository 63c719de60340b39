"""The documented nginx in front of a real daemon: the example is read from the page that has it."""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from flowd.door.visit import SEND_TIMEOUT_S
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import WAIT_S, Http, connect, fetch, http, request, sse, websocket
from tests.edge.process import Flowd, Raw, free_port, prices, until

PAGE = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(BELOW,) = re.findall(r"^```text\n(location /flowd/ .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SEVERAL = (Path(__file__).parents[2] / "examples" / "nginx.conf").read_text("utf-8")
(BURST,) = map(int, re.findall(r"burst=(\d+)", EXAMPLE))
(OPEN,) = map(int, re.findall(r"limit_conn flowd_open (\d+)", EXAMPLE))
MANY = 12_000
"""Records that no socket's buffer holds."""
# What flowd says of buffering is ignored, so that it is the example that is tried.
AROUND = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_ignore_headers X-Accel-Buffering;
    {example}
}}
"""


@pytest.fixture(scope="module")
def program() -> str:
    """nginx, which Debian keeps where only root's path looks. Without one the test is skipped, but
    not where everything must run.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        said = "there is no nginx here; `apt-get install nginx` brings it"
        assert os.environ.get("CI") != "true", said
        pytest.skip(said)
    return found


def written(folder: Path, example: str) -> Path:
    """The example as a whole configuration, with its files in this folder."""
    folder.mkdir(exist_ok=True)
    certificate = trustme.CA().issue_cert("flow.example.org")
    certificate.cert_chain_pems[0].write_to_path(folder / "flow.example.org.pem")
    certificate.private_key_pem.write_to_path(folder / "flow.example.org.key")
    example = example.replace("/etc/ssl", str(folder)).replace("/var/log/nginx", str(folder))
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(user=user, folder=folder, example=example))
    return config


def command(program: str, config: Path) -> list[str]:
    folder = config.parent
    return [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]


def proxied(program: str, daemon: Flowd, folder: Path) -> AbstractAsyncContextManager[int]:
    """nginx in front of this daemon."""
    ports = {"server 127.0.0.1:4200;": f"server 127.0.0.1:{daemon.port};"}
    return running(program, EXAMPLE, ports, folder)


@asynccontextmanager
async def running(
    program: str, example: str, ports: Mapping[str, str], folder: Path
) -> AsyncGenerator[int, None]:
    """nginx by an example with other ports, without TLS; its port. Its sockets hold little, so that
    a client who does not read is noticed.
    """
    port = free_port()
    for old, new in {
        **ports,
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} sndbuf=16k;",
    }.items():
        assert old in example
        example = example.replace(old, new)
    line = command(program, written(folder, example))
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            await until(partial(answers, port), bool)
            yield port
        finally:
            process.terminate()


async def answers(port: int) -> bool:
    with suppress(OSError):
        return (await fetch(port, "/health")).status == 200
    return False


@pytest.mark.parametrize("example", [EXAMPLE, SEVERAL], ids=["one", "several"])
def test_the_example_is_good(program: str, example: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [*command(program, written(tmp_path, example)), "-t"],
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
    program: str, flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with proxied(program, daemon, tmp_path / "nginx") as port:
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        async with websocket(port, "/ws?streams=orders&limit=0", headers=headers) as peer:
            await peer.next("records")


async def test_a_poll_of_a_reader_who_is_slow_is_nginx_s_affair(
    program: str, flowd: Start, exchange: Exchange, tmp_path: Path
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

    async with proxied(program, daemon, tmp_path / "nginx") as port:
        stream = await connect(port, receive_buffer=4096)
        async with stream:
            await stream.send_all(request("/streams/orders"))
            await daemon.settled(taken, within_s=SEND_TIMEOUT_S / 2)
            answer = await Http(stream).answer()

    assert answer.json == prepared
    assert len(answer.body) > 2 * 1024 * 1024


async def test_who_stays_hears_of_a_record_at_once(
    program: str, flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with (
        proxied(program, daemon, tmp_path / "nginx") as port,
        sse(port, "/sse/orders?limit=0") as events,
        websocket(port, "/ws?streams=orders&limit=0") as peer,
    ):
        await peer.next("records")
        numbers = list(exchange.say())
        message = await peer.next("records")
        said = b""
        with trio.fail_after(WAIT_S):
            # Not by events: nginx sends the endless answer in chunks.
            while b"\ndata: " not in said:
                said += await events.stream.receive_some(65536)

    assert prices(message) == numbers
    assert b'"price":"%d' % numbers[0] in said


async def test_who_floods_is_told_to_wait_and_harms_nobody(
    program: str, flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with proxied(program, daemon, tmp_path / "nginx") as port:
        told: list[int] = []
        async with http(port, source="127.0.0.2") as peer:
            while 429 not in told and len(told) < 10 * BURST:
                told.append((await peer.ask("/streams/orders")).status)
        other = await fetch(port, "/streams/orders", source="127.0.0.3")

    assert told == [200] * (len(told) - 1) + [429]
    assert len(told) > BURST
    assert other.status == 200


async def test_one_address_has_so_many_connections_and_no_more(
    program: str, flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()

    async with proxied(program, daemon, tmp_path / "nginx") as port, AsyncExitStack() as stack:
        told: list[int] = []
        for _ in range(OPEN + 1):
            events = await stack.enter_async_context(sse(port, source="127.0.0.2"))
            told.append(events.status)
        other = await stack.enter_async_context(sse(port, source="127.0.0.3"))

    assert told == [200] * OPEN + [503]
    assert other.status == 200


async def test_flowd_knows_who_comes_and_nginx_lets_nobody_be_an_admin(
    program: str, flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd(max_clients_per_address=1, trusted_proxies=["127.0.0.1"]).start()

    async with proxied(program, daemon, tmp_path / "nginx") as port:
        async with sse(port, source="127.0.0.2") as first:
            again = await fetch(port, "/sse/orders", source="127.0.0.2")
            async with sse(port, source="127.0.0.3") as other:
                statuses = (first.status, again.status, other.status)
        admin = await fetch(port, "/components/orders/reconnect", "POST")

    assert statuses == (200, 503, 200)
    assert again.error["code"] == "TOO_MANY_FROM_ADDRESS"
    assert admin.status == 403


async def test_a_ticket_is_not_in_the_log_of_nginx(
    program: str, flowd: Start, tmp_path: Path
) -> None:
    token = Raw('{ env = "EDGE_READ_TOKEN" }')
    options = {"read_token": token, "allow_hosts": ["flow.example.org"]}
    daemon = await flowd(env={"EDGE_READ_TOKEN": "sesame"}, **options).start()
    headers = {"Authorization": "Bearer sesame"}

    async with proxied(program, daemon, tmp_path / "nginx") as port:
        ticket = (await fetch(port, "/tickets", "POST", headers=headers)).json["ticket"]
        answer = await fetch(port, f"/streams/orders?ticket={ticket}")

    log = (tmp_path / "nginx" / "flowd.log").read_text()
    assert answer.status == 200
    assert "GET /streams/orders" in log
    assert ticket not in log


# -- several daemons


async def three(flowd: Start) -> list[Flowd]:
    """Daemons that come back to the port that they had."""
    listen = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    return [await flowd(trusted_proxies=["127.0.0.1"], listen=one).start() for one in listen]


def ahead(program: str, daemons: list[Flowd], folder: Path) -> AbstractAsyncContextManager[int]:
    """nginx in front of three daemons."""
    ports = {f"127.0.0.1:420{n} ": f"127.0.0.1:{one.port} " for n, one in enumerate(daemons, 1)}
    return running(program, SEVERAL, ports, folder)


async def following(daemon: Flowd) -> int:
    found: int = (await daemon.status())["clients"]["live"]
    return found


async def test_clients_are_spread_and_nobody_has_to_come_back_to_the_same(
    program: str, flowd: Start, tmp_path: Path
) -> None:
    daemons = await three(flowd)

    async with ahead(program, daemons, tmp_path / "nginx") as port, AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(sse(port, source="127.0.0.2"))
        found = [await following(daemon) for daemon in daemons]
        inside = [(await fetch(port, path)).status for path in ("/metrics", "/components/orders")]

    assert found == [3, 3, 3]
    assert inside == [403, 403]


async def test_a_daemon_that_is_killed_and_one_that_is_stopped_are_noticed_by_nobody_who_asks(
    program: str, flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemons = await three(flowd)

    async with ahead(program, daemons, tmp_path / "nginx") as port:
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
