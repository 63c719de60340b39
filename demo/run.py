"""`make run`: the simulated exchange and, once it serves, the daemon on it; both end together."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
ADDRESSES = {"url": "ws://127.0.0.1:4300/market", "rest": "http://127.0.0.1:4301"}
"""Where demo/flowd.toml looks for the exchange. The real ports are whichever are free."""
EXCHANGE = ["simulate", "--port=0", "--rest-port=0", "--rate=240", "--garbage=0.002"]


def main() -> int:
    """Run both until the daemon ends; its exit code is ours."""
    os.chdir(HERE.parent)
    flowd = shutil.which("flowd", path=str(Path(sys.executable).parent))
    if flowd is None:
        print("flowd is not installed here; `make run` installs it", file=sys.stderr)
        return 2
    exchange = subprocess.Popen(
        [flowd, *EXCHANGE, "--duplicate=0.01"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert exchange.stdout is not None
        found = announced(exchange.stdout)
        if set(found) != set(ADDRESSES):
            print("the simulated exchange does not start", file=sys.stderr)
            return 2
        return serve(flowd, found)
    finally:
        exchange.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            exchange.wait(5)


def announced(output: IO[str]) -> dict[str, str]:
    """The addresses in the exchange's `url = "…"` and `rest = "…"` lines; fewer when it ended."""
    found: dict[str, str] = {}
    for line in output:
        name, _, value = line.strip().partition(" = ")
        if name in ADDRESSES:
            found[name] = value.strip('"')
        if len(found) == len(ADDRESSES):
            break
    return found


def serve(flowd: str, addresses: dict[str, str]) -> int:
    """Run the daemon on the demo configuration. Ctrl-C ends it in order, and we wait for that."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        text = (HERE / "flowd.toml").read_text(encoding="utf-8")
        for name, address in addresses.items():
            text = text.replace(ADDRESSES[name], address)
        config.write(text)
        config.flush()
        daemon = subprocess.Popen([flowd, "run", "-c", config.name], start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: daemon.send_signal(number))
        print("flowd demo: open http://127.0.0.1:4200/ (Ctrl-C ends it)", flush=True)
        return daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
