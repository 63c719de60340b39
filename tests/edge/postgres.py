"""A real PostgreSQL of the tests' own: made by initdb in a folder, reached by a socket there."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.needed import lacking

USER = "postgres"
INITDB = ("-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "40",
    "autovacuum": "off",
    "log_min_messages": "fatal",
    "max_wal_size": "64MB",
}


def programs() -> Path:
    """Where initdb is. Debian keeps it where no path looks."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    where = shutil.which("initdb")
    if where is None:
        lacking("there is no PostgreSQL here; `apt-get install postgresql` brings it")
    return Path(where).parent


class Cluster:
    """A server. `start`, `stop`, `kill`, `pause` and `wake` are done to the whole of it."""

    numbers = count(1)

    def __init__(self, folder: Path | None = None) -> None:
        self._bin = programs()
        # A socket's path is short, and who serves must be let in: not below pytest's folder.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="flowd-pg-", dir="/tmp"))
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL does not run as root.
            owner = pwd.getpwnam(USER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [self._bin / "initdb", "-D", self.data, "-U", USER, *INITDB],
            capture_output=True,
            cwd=self.folder,
            **self._as,
        )
        assert made.returncode == 0, made.stderr.decode()

    def address(self, database: str = "postgres", user: str = USER, password: str = "") -> str:
        """Where a database of it is."""
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={self.folder}"

    def database(self) -> str:
        """The address of a new database."""
        name = f"test_{next(self.numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return self.address(name)

    def ask(self, sql: Any, address: str = "") -> list[Any]:
        """What the server itself says."""
        with psycopg.connect(address or self.address(), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in (SETTINGS | settings).items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, "-k", self.folder, *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._as,
            )
        ready = [self._bin / "pg_isready", "-h", self.folder, "-t", "1", "-q"]
        for _ in range(200):
            if subprocess.run(ready).returncode == 0:
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        raise AssertionError("PostgreSQL does not come up")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, connections first; SIGQUIT ends it at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Kill all of its processes."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)
        self._process = None
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def signal(self, signal: signal.Signals) -> None:
        """Send all of its processes a signal: SIGSTOP and SIGCONT, too."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in (self._process.pid, *map(int, children.read_text().split())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
