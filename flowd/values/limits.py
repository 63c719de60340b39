"""How much of everything clients may take: one value, made from the configuration."""

from attrs import frozen


@frozen
class Limits:
    """What live clients are allowed, and when one counts as slow; times in seconds.

    A client that takes no byte for `slow_consumer_timeout_s` is told that it is slow, and let go
    after `slow_consumer_limit_s`. The passes over many clients keep `pace_s` apart: in a burst the
    records of so long travel together, at the price of one.
    """

    max_clients: int = 1000
    max_clients_per_address: int | None = None
    """None: 100, and no limit for this machine's own addresses, where a proxy may speak for many.
    """
    trusted_proxies: frozenset[str] = frozenset()
    slow_consumer_timeout_s: float = 1.0
    slow_consumer_limit_s: float = 60.0
    heartbeat_s: float = 15.0
    pace_s: float = 0.005
