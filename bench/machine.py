"""What the machine can tell: cores to pin to, CPU time and memory of a process, what it is.

CPU time is the measure of nearly everything here, because it does not depend on how fast the load
generator on the other core happens to be.
"""

import os
import platform
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from attrs import frozen

FILES = 65_536
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@frozen
class Cores:
    """Which core the server under test has for itself, and which one everything else shares."""

    server: int
    others: int
    every: tuple[int, ...]
    """All that there are, for what is measured on as many as there are."""

    @classmethod
    def choose(cls) -> "Cores":
        """The last core for the server: interrupts of a small machine tend to land on the first."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[-1], allowed[0], tuple(allowed))

    @property
    def apart(self) -> bool:
        """Whether the server has a core for itself."""
        return self.server != self.others


@frozen
class Cpu:
    """CPU seconds of one or several processes, of which `user_s` outside the kernel.

    The whole comes from the process's CPU clock in nanoseconds; `/proc/PID/stat` counts the same
    time in hundredths of a second and is asked only for the share that is user time.
    """

    total_s: float
    user_s: float

    @classmethod
    def of(cls, pids: list[int]) -> "Cpu":
        """What these processes have used so far."""
        total_s = user_s = 0.0
        for pid in pids:
            whole = time_of(pid)
            user, system = ticks_of(pid)
            total_s += whole
            user_s += whole * user / (user + system) if user + system else 0.0
        return cls(total_s, user_s)

    def since(self, earlier: "Cpu") -> "Cpu":
        """What was used between two readings."""
        return Cpu(self.total_s - earlier.total_s, max(0.0, self.user_s - earlier.user_s))


def time_of(pid: int) -> float:
    """The CPU clock of another process: the kernel derives the clock's id from the pid."""
    return time.clock_gettime((~pid << 3) | 2)


def ticks_of(pid: int) -> tuple[int, int]:
    """User and system ticks; the name in field 2 may hold spaces, so count from its bracket."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def rss_bytes(pids: list[int]) -> int:
    """Resident memory of these processes together."""
    return sum(status_kib(pid, "VmRSS:") * 1024 for pid in pids)


def status_kib(pid: int, name: str) -> int:
    """A field of `/proc/PID/status` that is given in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no {name}")


def children_of(pid: int) -> list[int]:
    """Direct children of a process that we started: it is nginx's worker that does the work."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def core_busy_s(core: int) -> float:
    """Seconds for which this core was not idle, whoever kept it busy; stolen time is busy."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * TICK_S
    raise ValueError(f"/proc/stat has no cpu{core}")


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Thousands of sockets need thousands of descriptors; children inherit the limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= FILES:
        wanted = FILES if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    with suppress(ValueError, OSError):  # Only root may raise the hard limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        return FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe() -> dict[str, Any]:
    """The machine in a few words for the page's head."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def versions(*names: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def lines_of(path: Path, newest: int) -> Iterator[str]:
    """The newest lines of a server's log, for an error message that helps."""
    if path.exists():
        yield from path.read_text(errors="replace").splitlines()[-newest:]
