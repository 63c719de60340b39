"""READY, STOPPING and WATCHDOG to systemd, over the datagram socket that it names; nothing
elsewhere.
"""

import contextlib
import os
import socket
import sys

import trio


def notify(message: str) -> bool:
    """Tell systemd; False when there is nobody to tell."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to, contextlib.suppress(OSError):
        to.connect(address)
        to.sendall(message.encode())
        return True
    return False


def watchdog_s() -> float | None:
    """How often systemd wants to hear from this process, in seconds; None when it does not."""
    usec, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not usec or not usec.isdigit() or (pid and not _ours(pid)):
        return None
    return int(usec) / 1_000_000


async def beat() -> None:
    """Tell systemd for ever that the loop turns. A loop that is stuck cannot, and is restarted."""
    every_s = watchdog_s()
    while every_s is not None:
        notify("WATCHDOG=1")
        await trio.sleep(every_s / 2)


def passed_sockets() -> list[int]:
    """File descriptors of the listening sockets that systemd opened for us (socket activation)."""
    if not _ours(os.environ.get("LISTEN_PID")):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    return list(range(3, 3 + int(count))) if count.isdigit() else []


def _ours(pid: str | None) -> bool:
    """Whether systemd means this process. As one file we are two: it started the one that unpacks,
    which waits for us, hands signals on and ends as we do.
    """
    meant = [os.getpid()]
    if getattr(sys, "frozen", False):
        meant.append(os.getppid())
    return pid in [str(one) for one in meant]
