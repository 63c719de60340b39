"""`make run`: the simulated exchanges and the daemon on them; all end together."""

import argparse
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
FLOWD = [sys.executable, "-m", "flowd.cli"]
PORT = 4200
PORTS = {
    "--port": 4300,
    "--rest-port": 4301,
    "--hydromancer-port": 4302,
    "--hyperliquid-port": 4303,
    "--bybit-port": 4304,
    "--okx-port": 4305,
}
"""The exchanges' ports by the options of `flowd simulate`, as demo/flowd.toml has them. The real
ones are whichever are free.
"""
EXCHANGES = ["--rate=240", "--fills=60", "--garbage=0.002", "--duplicate=0.01"]
KEY = {"HYDROMANCER_API_KEY": "demo-key"}
"""What the simulated Hydromancer takes for a key."""
ADMIN = "FLOWD_ADMIN_TOKEN"
TOKEN = "demo"
"""The admin token, where the environment has none: said to all, since the markets are made up."""
START_S = 60.0


def main() -> int:
    """Run both until the daemon ends; its exit code is ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="where the pages are")
    port = parser.parse_args().port
    os.chdir(HERE.parent)
    running = in_use(folder() / "state.db")
    instead = f"make run PORT={port + 1}"
    if running:
        instead = f"FLOWD_DEMO=/tmp/flowd-demo {instead}"
    if not vacant(port):
        print(f"port {port} is taken; try another: {instead}", file=sys.stderr)
        return 2
    if running:
        print(
            f"{folder() / 'state.db'} is in use by another demo; end that one, or give this one "
            f"a folder of its own: {instead}",
            file=sys.stderr,
        )
        return 2
    ports = dict(zip(PORTS, free(len(PORTS)), strict=True))
    with exchanges(ports) as running:
        if not running:
            print("the simulated exchanges do not start", file=sys.stderr)
            return 2
        return serve(port, ports)


@contextlib.contextmanager
def exchanges(ports: dict[str, int], *more: str) -> Iterator[bool]:
    """The simulated exchanges on these ports; whether they came up."""
    options = [f"{option}={port}" for option, port in ports.items()]
    process = subprocess.Popen(
        [*FLOWD, "simulate", *options, *(more or EXCHANGES)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield answering(process, list(ports.values()))
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free(count: int) -> list[int]:
    """So many ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def vacant(port: int) -> bool:
    """Whether one can listen there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def folder() -> Path:
    """Where the demo keeps its past: the folder that FLOWD_DEMO names, or beside this file."""
    return Path(os.environ.get("FLOWD_DEMO", "demo"))


def in_use(state: Path) -> bool:
    """Whether a daemon has this file, which it has locked then."""
    with contextlib.suppress(FileNotFoundError), state.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def answering(process: "subprocess.Popen[bytes]", ports: list[int]) -> bool:
    """Wait until somebody listens at all of them; False when the process ended before."""
    ends = time.monotonic() + START_S
    for port in ports:
        while process.poll() is None and time.monotonic() < ends:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            return False
    return True


def serve(port: int, ports: dict[str, int]) -> int:
    """Run the daemon on the demo configuration. Ctrl-C ends it in order, and we wait for that."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(aimed((HERE / "flowd.toml").read_text(encoding="utf-8"), port, ports))
        config.flush()
        daemon = subprocess.Popen(
            [*FLOWD, "run", "-c", config.name],
            env={**os.environ, **KEY, ADMIN: os.environ.get(ADMIN) or TOKEN},
            start_new_session=True,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: daemon.send_signal(number))
        if not answering(daemon, [port]) and daemon.poll() is not None:
            return daemon.returncode
        print(f"flowd demo: open http://127.0.0.1:{port}/ (Ctrl-C ends it).", flush=True)
        print(
            "The admin token, with which components are started again on /operate and alert lines "
            f"kept on /chart, is {f'what {ADMIN} says' if os.environ.get(ADMIN) else TOKEN}.",
            flush=True,
        )
        print(
            "The exchanges are made up, and break frames on purpose: warnings about what is no "
            "JSON, or makes no sense, are part of the demo.",
            flush=True,
        )
        return daemon.wait()


def aimed(text: str, port: int, ports: dict[str, int]) -> str:
    """The demo configuration, with the ports and the folder that there are."""
    text = text.replace('"demo/', f'"{folder()}/')
    for option, written in PORTS.items():
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{{{option}}}")
    text = text.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}")
    for option, found in ports.items():
        text = text.replace(f"{{{option}}}", str(found))
    return text


if __name__ == "__main__":
    sys.exit(main())
