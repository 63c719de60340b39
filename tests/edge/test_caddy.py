"""The example for Caddy in front of three real daemons."""

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.nginx import answers
from tests.edge.peers import fetch, sse, websocket
from tests.edge.process import Flowd, free_port, prices, until
from tests.edge.test_nginx import following
from tests.needed import lacking

EXAMPLE = (Path(__file__).parents[2] / "examples" / "Caddyfile").read_text("utf-8")
ALONE = "{\n\tadmin off\n\tauto_https off\n}\n"
"""Neither a port to administer it nor certificates from the network."""


@pytest.fixture(scope="module")
def program() -> str:
    found = shutil.which("caddy")
    if found is None:
        lacking("there is no caddy here; `apt-get install caddy` brings it")
    return found


def at_home(folder: Path) -> Mapping[str, str]:
    """Where Caddy may write."""
    folder.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}


@asynccontextmanager
async def ahead(program: str, daemons: list[Flowd], folder: Path) -> AsyncGenerator[int, None]:
    """Caddy in front of these daemons, without TLS; its port."""
    port = free_port()
    example = EXAMPLE
    replaced = {f"127.0.0.1:420{n}": f"127.0.0.1:{one.port}" for n, one in enumerate(daemons, 1)}
    here = {"flow.example.org {": f"http://:{port} {{\n\tbind 127.0.0.1"}
    for old, new in {**replaced, **here}.items():
        assert old in example
        example = example.replace(old, new)
    env = at_home(folder)
    config = folder / "Caddyfile"
    config.write_text(ALONE + example)
    line = [program, "run", "--adapter", "caddyfile", "--config", str(config)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(line, stdout=log, stderr=log, env=env) as process,  # noqa: ASYNC220
    ):
        try:
            await until(partial(answers, port), bool)
            yield port
        finally:
            process.terminate()


def test_the_example_is_good(program: str, tmp_path: Path) -> None:
    config = tmp_path / "Caddyfile"
    config.write_text(EXAMPLE)

    found = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        env=at_home(tmp_path),
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert '"level":"warn"' not in found.stderr


async def test_clients_are_spread_hear_at_once_and_miss_no_daemon_that_is_gone(
    program: str, flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemons = [await flowd(trusted_proxies=["127.0.0.1"]).start() for _ in range(3)]

    async with ahead(program, daemons, tmp_path / "caddy") as port:
        async with AsyncExitStack() as stack:
            for _ in range(6):
                await stack.enter_async_context(sse(port))
            spread = [await following(daemon) for daemon in daemons]
        async with websocket(port, "/ws?streams=orders&limit=0") as peer:
            await peer.next("records")
            numbers = list(exchange.say())
            heard = prices(await peer.next("records"))
        inside = [(await fetch(port, path)).status for path in ("/metrics", "/components/orders")]
        await daemons[0].kill()
        first = [(await fetch(port, "/streams/orders?limit=0")).status for _ in range(30)]
        await daemons[1].stop()
        then = [(await fetch(port, "/streams/orders?limit=0")).status for _ in range(30)]

    assert spread == [2, 2, 2]
    assert heard == numbers
    assert inside == [403, 403]
    assert first == then == [200] * 30
