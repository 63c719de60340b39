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
    max_connections_per_address: int | None = None
    """Of all connections, also those that stay; None: 200, and no limit for this machine's own."""
    max_requests_per_s: int | None = None
    """From one address; None: 200, and no limit for this machine's own."""
    trusted_proxies: frozenset[str] = frozenset()
    slow_consumer_timeout_s: float = 1.0
    slow_consumer_limit_s: float = 60.0
    heartbeat_s: float = 15.0
    pace_s: float = 0.005
    memory_budget: int = 256 * 1024 * 1024
    """Bytes that may wait in memory for clients; divided into the shares below."""

    @property
    def heads_bytes(self) -> int:
        """The share of request heads that are remembered."""
        return self.memory_budget // 32

    @property
    def prepared_bytes(self) -> int:
        """The share of what is prepared for clients: answers to polls, chunks for live ones."""
        return self.memory_budget * 3 // 8

    @property
    def outgoing_bytes(self) -> int:
        """The share of answers that are being sent: all the rest."""
        return self.memory_budget - self.heads_bytes - self.prepared_bytes
