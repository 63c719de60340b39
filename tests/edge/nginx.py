"""A real nginx of a test's own, by an example of the documentation, at other ports, without TLS."""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
import trustme
from attrs import frozen

from tests.edge.peers import fetch
from tests.edge.process import free_port, until
from tests.needed import lacking

SEVERAL = (Path(__file__).parents[2] / "examples" / "nginx.conf").read_text("utf-8")
"""In front of three daemons, at the ports 4201 to 4203."""
# What flowd says of buffering is ignored, so that it is the example that is tried.
AROUND = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 4096; }}
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


def program() -> str:
    """Where it is, which is where only root's path looks on Debian; the test is skipped where there
    is none.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        lacking("there is no nginx here; `apt-get install nginx` brings it")
    return found


@frozen
class Nginx:
    """One that runs, in the foreground."""

    port: int
    pid: int

    async def reload(self) -> None:
        """Have it read its configuration again; returns once new workers take who comes. Old ones
        stay until their clients have left.
        """
        before = await self._workers()
        os.kill(self.pid, signal.SIGHUP)
        await until(self._workers, lambda now: now - before)

    async def _workers(self) -> set[str]:
        # In one thread: a loop that has much to do comes back to each file after a while.
        return await trio.to_thread.run_sync(children, self.pid)


def children(pid: int) -> set[str]:
    """The processes whose parent it is."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Its name, which may have spaces, is in parentheses.
            _, _, rest = (process / "stat").read_text().rpartition(")")
            if int(rest.split()[1]) == pid:
                found.add(process.name)
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


def command(config: Path) -> list[str]:
    """How it is started with this configuration."""
    folder = config.parent
    return [program(), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]


@asynccontextmanager
async def running(
    example: str, ports: Mapping[str, str], folder: Path, listen: str = "sndbuf=16k"
) -> AsyncGenerator[Nginx, None]:
    """nginx by an example in which `ports` are others. Its sockets hold little unless `listen` says
    otherwise, so that a client who does not read is noticed.
    """
    port = free_port()
    for old, new in {
        **ports,
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} {listen};",
    }.items():
        assert old in example
        example = example.replace(old, new)
    line = command(written(folder, example))
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            await until(partial(answers, port), bool)
            yield Nginx(port, process.pid)
        finally:
            process.terminate()


def three(ports: Sequence[int]) -> dict[str, str]:
    """What of `SEVERAL` is other where its daemons have these ports."""
    return {f"127.0.0.1:420{n} ": f"127.0.0.1:{port} " for n, port in enumerate(ports, 1)}


async def answers(port: int) -> bool:
    """Whether somebody behind it is well."""
    with suppress(OSError):
        return (await fetch(port, "/health")).status == 200
    return False
