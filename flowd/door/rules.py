"""Which web pages may do more than read: by the headers `Origin` and `Host`, which a browser sets
and no page can change.

What flowd serves may be read from any page, by plain GETs. A WebSocket, and whatever changes
something, is for pages of the same host alone; and what changes something is answered only under a
name that is surely ours, since a page may let its own name point to this machine (DNS rebinding).
"""

import re
from collections.abc import Iterable

from attrs import frozen

from flowd.door.head import Head
from flowd.values.errors import BadRequest, UserError

READING = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
ANY = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
_HOST = re.compile(r"[^/?#@:\s]+|\[[0-9a-f:.]+\]")
_PORTS = {"http": ":80", "https": ":443"}


@frozen
class Rules:
    """The origins and hosts that are allowed beside our own; `*` allows all."""

    allow_origins: frozenset[str] = frozenset()
    allow_hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, allow_origins: Iterable[str], allow_hosts: Iterable[str]) -> "Rules":
        """The rules that the configuration writes; UserError when what it names is none."""
        origins = frozenset(origin.lower() for origin in allow_origins)
        hosts = frozenset(host.lower() for host in allow_hosts)
        for origin in origins - {ANY}:
            if _ORIGIN.fullmatch(origin) is None:
                raise UserError(
                    f'flowd.allow_origins: "{origin}" is no origin; expected '
                    '"https://example.org", or "*" for all'
                )
        for host in hosts - {ANY}:
            if _HOST.fullmatch(host) is None:
                raise UserError(
                    f'flowd.allow_hosts: "{host}" is no name; expected "example.org", without a '
                    'port, or "*" for all'
                )
        return cls(origins, hosts)

    def check(self, head: Head, bound: str) -> None:
        """BadRequest when a request's origin or host may not ask for this. `bound` is the address
        at which its connection arrived.
        """
        changes = head.method not in READING
        if changes or head.wants_websocket:
            self._check_origin(head)
        if changes:
            self._check_host(head, bound)

    def _check_origin(self, head: Head) -> None:
        origin = head.headers.get("origin")
        if origin is None or ANY in self.allow_origins:
            return
        origin = origin.lower()
        if origin not in self.allow_origins and not _same(origin, head.headers.get("host", "")):
            raise BadRequest(
                "pages of this origin may read here, and nothing else",
                parameter="Origin",
                value=origin[:200],
                allowed="pages of this host, and those that flowd.allow_origins lists",
                code="FORBIDDEN_ORIGIN",
                status=403,
            )

    def _check_host(self, head: Head, bound: str) -> None:
        name = host_name(head.headers.get("host", ""))
        known = {*LOCAL_NAMES, *self.allow_hosts, f"[{bound}]" if ":" in bound else bound} - {""}
        if ANY not in self.allow_hosts and name not in known:
            raise BadRequest(
                "nothing is changed under this name",
                parameter="Host",
                value=name[:200],
                allowed="localhost, the address where flowd listens, and what flowd.allow_hosts "
                "lists",
                code="FORBIDDEN_HOST",
                status=403,
            )


def host_name(host: str) -> str:
    """A `Host` without its port, in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _same(origin: str, host: str) -> bool:
    scheme, _, there = origin.partition("://")
    default = _PORTS.get(scheme, "")
    return bool(there) and there.removesuffix(default) == host.lower().removesuffix(default)
