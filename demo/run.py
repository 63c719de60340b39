"""`make run`: the simulated exchange and, once it answers, the daemon; both end together.

Ports can be moved when others use them: FLOWD_DEMO_EXCHANGE=4310 (and the one after it, for REST).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
EXCHANGE_PORT = int(os.environ.get("FLOWD_DEMO_EXCHANGE", "4300"))
START_TIMEOUT_S = 30.0


def main() -> int:
    """Run both until the daemon ends; its exit code is ours."""
    os.chdir(HERE.parent)
    flowd = shutil.which("flowd", path=str(Path(sys.executable).parent))
    if flowd is None:
        print("flowd is not installed here; `make run` installs it", file=sys.stderr)
        return 2
    exchange = subprocess.Popen(
        [flowd, "simulate", f"--port={EXCHANGE_PORT}", f"--rest-port={EXCHANGE_PORT + 1}"]
        + ["--rate=240", "--garbage=0.002", "--duplicate=0.01"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    # Ctrl-C reaches the daemon too, which ends in order; we wait for it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: daemon and daemon.send_signal(number))
    daemon = None
    try:
        if not answers(exchange):
            print(f"the simulated exchange cannot use port {EXCHANGE_PORT}", file=sys.stderr)
            return 2
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            text = (HERE / "flowd.toml").read_text(encoding="utf-8")
            config.write(text.replace("127.0.0.1:4300", f"127.0.0.1:{EXCHANGE_PORT}"))
            config.flush()
            print("flowd demo: open http://127.0.0.1:4200/ (Ctrl-C ends it)", flush=True)
            daemon = subprocess.Popen([flowd, "run", "-c", config.name], start_new_session=True)
            return daemon.wait()
    finally:
        exchange.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            exchange.wait(5)


def answers(exchange: "subprocess.Popen[bytes]") -> bool:
    """Wait until the simulated exchange takes connections; False when it ended instead."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and exchange.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", EXCHANGE_PORT), 1),
        ):
            return exchange.poll() is None
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
