"""`make run`: the simulated exchanges and the daemon on them; all end together."""

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
ADDRESSES = {
    "url": "ws://127.0.0.1:4300/market",
    "rest": "http://127.0.0.1:4301",
    "hydromancer": "ws://127.0.0.1:4302/ws",
    "hyperliquid": "ws://127.0.0.1:4303/ws",
    "hyperliquid_info": "http://127.0.0.1:4303/info",
}
"""Where demo/flowd.toml looks for the exchanges. The real ports are whichever are free."""
EXCHANGES = ["simulate", "--port=0", "--rest-port=0", "--rate=240", "--garbage=0.002"]
KEY = {"HYDROMANCER_API_KEY": "demo-key"}
"""What the simulated Hydromancer takes for a key."""


def main() -> int:
    """Run both until the daemon ends; its exit code is ours."""
    os.chdir(HERE.parent)
    flowd = shutil.which("flowd", path=str(Path(sys.executable).parent))
    if flowd is None:
        print("flowd is not installed here; `make run` installs it", file=sys.stderr)
        return 2
    exchange = subprocess.Popen(
        [flowd, *EXCHANGES, "--fills=60", "--duplicate=0.01"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert exchange.stdout is not None
        found = announced(exchange.stdout)
        if set(found) != set(ADDRESSES):
            print("the simulated exchanges do not start", file=sys.stderr)
            return 2
        return serve(flowd, found)
    finally:
        exchange.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            exchange.wait(5)


def announced(output: IO[str]) -> dict[str, str]:
    """The addresses in the exchanges' lines, such as `url = "…"`; fewer when they ended."""
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
        daemon = subprocess.Popen(
            [flowd, "run", "-c", config.name], env={**os.environ, **KEY}, start_new_session=True
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: daemon.send_signal(number))
        print("flowd demo: open http://127.0.0.1:4200/ (Ctrl-C ends it)", flush=True)
        return daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
