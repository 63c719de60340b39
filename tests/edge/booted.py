"""A systemd of a test's own: the real one, as process 1 of namespaces, on a copy of this machine's
files that nobody else sees. Only the units that it is given are there.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pytest
import trio

from tests.edge.process import until
from tests.needed import lacking

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
TARGETS = (
    *("sysinit", "basic", "multi-user", "local-fs", "sockets", "timers", "paths", "slices"),
    *("shutdown", "umount"),
)
FLOWD = f"""#!/bin/sh
export PYTHONPATH=/opt/checkout:/opt/checkout/plugins:/opt/site LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]} -P -m flowd.cli "$@"
"""
"""This checkout with our Python, neither of which need be where the service may look."""
BOOT = """
set -eu
folder=$1 python=$2 checkout=$3 site=$4 given=$5 root=$1/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
# The kernel is not its own, and is left as it is.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/usr/lib/systemd/system-generators"
mkdir -p "$root/opt/python" "$root/opt/checkout" "$root/opt/site"
mount --bind "$python" "$root/opt/python"
mount --bind "$checkout" "$root/opt/checkout"
mount --bind "$site" "$root/opt/site"
cp -r "$given/." "$root/"
mkdir "$root/before"
cd "$root"
pivot_root . before
umount -l /before
exec env -i container=flowd PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/units \\
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=null --show-status=no
"""


class Booted:
    """`with` it. Files are given by their paths in there, units as `/etc/units/NAME`."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        given, self._place, self._log = folder / "given", folder / "place", folder / "log"
        self._place.mkdir(parents=True)
        units = {
            f"/etc/units/{name}.target": Path(f"/lib/systemd/system/{name}.target").read_text()
            for name in TARGETS
            if SYSTEMD.exists()
        }
        for name, text in {**units, "/opt/flowd/bin/flowd": FLOWD, **files}.items():
            file = given / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if "/bin/" in name else 0o644)
        for made in given.glob("**/"):
            made.chmod(0o755)
        self._given = given
        self._process: subprocess.Popen[bytes] | None = None
        self._within: list[str] = []

    def __enter__(self) -> "Booted":
        if not SYSTEMD.exists():
            lacking("there is no systemd here; `apt-get install systemd` brings it")
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        groups = [Path(place) for place, kind in mounts if kind == "cgroup2"]
        if os.geteuid() != 0 or not groups:
            lacking("systemd is started by root, and where there are control groups (v2)")
        self._group = groups[0] / f"flowd-{os.getpid()}"
        self._group.mkdir()
        namespaces = ["--mount", "--pid", "--cgroup", "--ipc", "--uts"]
        into = f"echo $$ >{self._group}/cgroup.procs; exec unshare --fork --kill-child "
        script = [f'{into} {" ".join(namespaces)} sh -c "$@"', "sh", BOOT, "boot"]
        of_ours = [sys.base_prefix, str(ROOT), sysconfig.get_path("purelib")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", *script, str(self._place), *of_ours, str(self._given)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        return self

    async def up(self) -> None:
        """Wait until it takes orders. Where namespaces are forbidden the test is skipped."""
        process = self._process
        assert process is not None

        async def asked() -> bool:
            await trio.lowlevel.checkpoint()
            if process.poll() is not None:
                pytest.skip(f"may not start it: {self._log.read_text()}")
            return self._runs(process.pid)

        await until(asked, bool, every_s=0.05)

    def _runs(self, starter: int) -> bool:
        first = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()
        if not first or Path(f"/proc/{first[0]}/comm").read_text() != "systemd\n":
            return False
        namespaces = ["--mount", "--pid", "--ipc", "--uts", "--root"]
        self._within = ["nsenter", "--target", first[0], *namespaces]
        asking = ("systemctl", "is-active", "multi-user.target")
        return self.run(*asking, good=False) == "active\n"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if error is not None and process.poll() is None and self._within:
            told = self.run("systemctl", "status", "--no-pager", "flowd*", good=False)
            sys.stderr.write(f"{told}\n{self.read('/run/flowd.log')}\n")
        # With its process 1 a namespace ends.
        process.kill()
        process.wait(10)
        until_s = time.monotonic() + 10
        while self._group.exists() and time.monotonic() < until_s:
            for folder, _, _ in os.walk(self._group, topdown=False):
                with suppress(OSError):  # The kernel is not through with them.
                    os.rmdir(folder)
        shutil.rmtree(self._given)

    def run(self, *command: str, good: bool = True) -> str:
        """Run it in there; what it says."""
        found = subprocess.run(
            [*self._within, *command], capture_output=True, text=True, timeout=120, check=False
        )
        assert found.returncode == 0 or not good, found.stdout + found.stderr
        return found.stdout + found.stderr

    def read(self, path: str) -> str:
        """A file in there."""
        return self.run("cat", path)

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def processes(self, unit: str) -> dict[int, str]:
        """The command lines of a service's processes, by their ids out here."""
        found: dict[int, str] = {}
        with suppress(FileNotFoundError):
            listed = (self._group / "system.slice" / unit / "cgroup.procs").read_text()
            for pid in map(int, listed.split()):
                with suppress(FileNotFoundError, ProcessLookupError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found[pid] = line.rstrip(b"\0").replace(b"\0", b" ").decode()
        return found
