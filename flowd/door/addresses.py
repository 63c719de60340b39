"""Who a client is for the limits: its address, or what a proxy says that is trusted."""

import ipaddress
from functools import lru_cache

from flowd.door.head import Head
from flowd.values.limits import Limits

NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one, has all that begin like it."""


def who(peer: str, head: Head, limits: Limits) -> str:
    """The address that a request counts for: its connection's, or what a trusted proxy says."""
    address = peer
    if address in limits.trusted_proxies:
        for part in reversed(head.headers.get("x-forwarded-for", "").split(",")):
            if part.strip():
                address = part.strip()[:64]
                if address not in limits.trusted_proxies:
                    break
    return counted(address)


@lru_cache(maxsize=4096)
def counted(address: str) -> str:
    """The address as it is counted: of an IPv6 address its network, of all others themselves."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.is_loopback or found.ipv4_mapped is not None:
        return str(found.ipv4_mapped or found)
    return str(ipaddress.IPv6Network((found, NETWORK_BITS), strict=False))


def is_local(address: str) -> bool:
    """Whether it is one of this machine's own, behind which a proxy may speak for many."""
    return address in ("local", "::1") or address.startswith(("127.", "::ffff:127."))


def most(address: str, wanted: int | None, default: int, everybody: int) -> int:
    """How many of something an address may have: as many as `wanted`, else the default, and all
    that there are where the address is this machine's own.
    """
    if wanted is not None:
        return wanted
    return everybody if is_local(address) else default
