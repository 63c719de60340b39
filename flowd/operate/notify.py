"""READY, STOPPING and WATCHDOG to systemd, over the datagram socket that it names; nothing
elsewhere.
"""

import contextlib
import os
import socket


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
    if not usec or not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1_000_000


def passed_sockets() -> list[int]:
    """File descriptors of the listening sockets that systemd opened for us (socket activation)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    return list(range(3, 3 + int(count))) if count.isdigit() else []
