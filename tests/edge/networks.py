"""A network of a test's own, at the end of a cable that can be pulled out."""

import os
import shutil
import subprocess
from itertools import count

import pytest

from tests.needed import lacking

_made = count()


class Network:
    """A network namespace, with one address, that is joined to this machine by a pair of virtual
    devices. Needs root.
    """

    def __init__(self) -> None:
        # The kernel takes the one before away in its own time.
        number = (8 * os.getpid() + next(_made)) % 16_000
        self.name = f"flowd-{number}"
        self.here, self.there = f"fh{number}", f"ft{number}"
        # Of the range for measurements, which no network in use has: four addresses for each.
        base = f"198.18.{number // 64}.{number % 64 * 4 + 1}".rpartition(".")
        self.at_home = f"{base[0]}.{int(base[2])}"
        self.host = f"{base[0]}.{int(base[2]) + 1}"
        self.within = ["ip", "netns", "exec", self.name]

    def __enter__(self) -> "Network":
        if shutil.which("ip") is None:
            lacking("there is no ip here; `apt-get install iproute2` brings it")
        try:
            self._ip("netns", "add", self.name)
        except subprocess.CalledProcessError as error:
            # A container may forbid it: a connection that is cut by a proxy is tried there too.
            pytest.skip(f"may not make a network of its own: {error.stderr}")
        try:
            there = ["-n", self.name]
            peer = ["peer", "name", self.there, "netns", self.name]
            self._ip("link", "add", self.here, "type", "veth", *peer)
            self._ip("addr", "add", f"{self.at_home}/30", "dev", self.here)
            self._ip("link", "set", self.here, "up")
            self._ip(*there, "addr", "add", f"{self.host}/30", "dev", self.there)
            self._ip(*there, "link", "set", self.there, "up")
        except BaseException:
            self._ip("netns", "del", self.name)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "del", self.name)

    def cut(self) -> None:
        """Nothing gets through, and nobody is told."""
        self._ip("-n", self.name, "link", "set", self.there, "down")

    def mend(self) -> None:
        """All is as before."""
        self._ip("-n", self.name, "link", "set", self.there, "up")

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)
