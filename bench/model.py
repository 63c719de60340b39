"""How many cores, servers and bytes so many clients and records want: `python -m bench.model
--clients 1000000 --records 100000` prints the table that docs/scaling.md has.

A pure function of a load and of prices. The prices were measured by `python -m bench`; what follows
from them is computed, and nobody has run it. Whoever has other figures puts them in.
"""

import argparse
from collections.abc import Sequence
from math import ceil

from attrs import astuple, field, fields, frozen

KIB, MIB, GIB = 1024, 1024**2, 1024**3
BATCHES_PER_S = 200
"""Batches of a stream keep 5 ms apart on their way to Redis. Where a loop is busy more gathers, and
that is no harm as long as it stays within the lateness: a tenth of that is allowed.
"""
PORTS = 60_999 - 32_768 + 1
"""Connections that one address of a proxy can have to one address and port of an edge, as Linux is
set (`net.ipv4.ip_local_port_range`).
"""
EDGES_OF_REDIS = 10_000 // 4
"""Redis lets 10 000 connections in (`maxclients`), of which an edge has up to four."""
HEADERS = 70
"""Bytes of Ethernet, IP, TCP and WebSocket around each message."""


def _price(default: float, about: str) -> float:
    found: float = field(default=default, metadata={"about": about})
    return found


@frozen
class Prices:
    """What things cost: microseconds of one core, and bytes."""

    send_us: float = _price(13.0, "µs: one message to one client")
    send_kib_us: float = _price(0.25, "µs: more for each KiB of it")
    ingest_us: float = _price(25.0, "µs: a record into the ingest's stream")
    sink_us: float = _price(20.0, "µs: a record of a batch from there to Redis")
    sink_batch_us: float = _price(300.0, "µs: a batch")
    intake_us: float = _price(35.0, "µs: a record of a batch into an edge's stream")
    intake_batch_us: float = _price(300.0, "µs: a batch")
    redis_us: float = _price(7.0, "µs: Redis, a record of a batch that is written")
    redis_batch_us: float = _price(60.0, "µs: Redis, a batch that is written")
    redis_read_us: float = _price(0.5, "µs: Redis, a record that an edge reads")
    redis_read_batch_us: float = _price(15.0, "µs: Redis, a batch that an edge reads")
    arrival_us: float = _price(700.0, "µs: a client comes, with its position")
    client_bytes: float = _price(3 * KIB, "bytes of an edge for each client")
    kernel_bytes: float = _price(4 * KIB, "bytes of the kernel for each connection")
    edge_bytes: float = _price(160 * MIB, "bytes of an edge without clients")
    remembered: float = _price(3.5, "bytes of an edge for each byte of JSON it remembers")
    stored: float = _price(1.15, "bytes in Redis for each byte of JSON")

    def __attrs_post_init__(self) -> None:
        if min(astuple(self)) < 0 or min(self.send_us, self.redis_read_us) <= 0:
            raise ValueError("no price is below 0, and send-us and redis-read-us are above it")


@frozen
class Load:
    """What is asked for. `seen` is how many records a second a client gets: of all of them, or of
    those that pass its filter; each client is at streams of one group.
    """

    clients: int = 1_000_000
    records: float = 100_000.0
    seen: float = 0.5
    streams: int = 100
    bytes: int = 300
    late_ms: float = 200.0
    """What 99 of 100 deliveries are to be sooner than."""
    busy: float = 0.6
    """How busy a core may be: the rest is for storms and bad luck."""
    cores: int = 8
    """Of one machine."""
    retain: int = 5_000
    """Records of each stream that are remembered."""

    def __attrs_post_init__(self) -> None:
        if min(self.clients, self.records, self.seen, self.streams, self.late_ms, self.cores) <= 0:
            raise ValueError("clients, records, seen, streams, late-ms and cores are more than 0")
        if not 0 < self.busy < 1:
            raise ValueError("busy is a share of a core, between 0 and 1")


@frozen
class Needs:
    """What that comes to. Cores are those of Python's loops and of Redis, which have one each."""

    groups: int
    ingests: int
    redis_each: int
    edges: int
    clients_per_edge: int
    decides: str
    intake: float
    delivering: float
    redis_busy: float
    edges_max_per_redis: int
    machines: int
    memory_per_edge: float
    redis_bytes: float
    clients_bits: float
    redis_bits: float
    storm_s: float
    all_back_s: float

    @property
    def redis(self) -> int:
        """All servers of Redis: of each group one that is written to, and its replicas."""
        return self.groups * self.redis_each


def needs(load: Load, prices: Prices | None = None) -> Needs:
    """What the load needs at these prices. ValueError for one that no number of machines carries:
    a stream that is more than one edge can take.
    """
    prices = prices or Prices()
    budget = load.busy * 1e6
    groups = _groups(load, prices)
    written, intake = _in_group(load, prices, groups)
    records = load.records / groups
    send_us = prices.send_us + prices.send_kib_us * load.bytes / KIB
    by_cpu = (budget - intake) / (load.seen * send_us)
    # A record is sent to one client after the other: of all who get it the last one waits longest.
    reached = min(1.0, load.seen / records)
    by_time = load.late_ms * 1000 / PASS / send_us / reached
    per_edge, decides = min(
        (by_cpu, "CPU: its intake and its deliveries"),
        (by_time, f"time: a pass over all who get a record ends within {load.late_ms:g} ms"),
        (float(PORTS), "ports: one address of a proxy has no more to one edge"),
    )
    edges = groups * ceil(load.clients / groups / per_edge)
    per_edge = load.clients / edges
    read = _batched(load, records, 1, prices.redis_read_us, prices.redis_read_batch_us)
    most = min(EDGES_OF_REDIS, int((budget - written) / read))
    redis_each = ceil(edges / groups / most)
    sink = _batched(load, load.records, load.streams, prices.sink_us, prices.sink_batch_us)
    ingests = ceil((load.records * prices.ingest_us + sink) / budget)
    arriving = per_edge / max(1, edges / groups - 1)
    return Needs(
        groups=groups,
        ingests=ingests,
        redis_each=redis_each,
        edges=edges,
        clients_per_edge=ceil(per_edge),
        decides=decides,
        intake=intake / 1e6,
        delivering=per_edge * load.seen * send_us / 1e6,
        redis_busy=(written + read * edges / groups / redis_each) / 1e6,
        edges_max_per_redis=most,
        machines=ceil((edges + groups * redis_each + ingests) / load.cores),
        memory_per_edge=prices.edge_bytes
        + load.streams / groups * load.retain * load.bytes * prices.remembered
        + per_edge * (prices.client_bytes + prices.kernel_bytes),
        redis_bytes=load.streams / groups * load.retain * load.bytes * prices.stored,
        clients_bits=load.clients * load.seen * (load.bytes + HEADERS) * 8,
        redis_bits=records * load.bytes * prices.stored * edges / groups / redis_each * 8,
        storm_s=arriving * prices.arrival_us / 1e6 / (1 - load.busy),
        all_back_s=per_edge * prices.arrival_us / 1e6,
    )


PASS = 1.5
"""The last in a hundred deliveries waits for so many passes over all who get a record."""


def _batched(
    load: Load, records: float, streams: float, record_us: float, batch_us: float
) -> float:
    """Microseconds a second that so many records of so many streams cost, which come in batches."""
    each = min(BATCHES_PER_S, 10_000 / load.late_ms)
    return records * record_us + min(records, streams * each) * batch_us


def _in_group(load: Load, prices: Prices, groups: int) -> tuple[float, float]:
    """Microseconds a second, where there are so many groups: Redis writing what comes to one, and
    an edge of it taking that. An edge asks for all its streams together.
    """
    records, streams = load.records / groups, load.streams / groups
    written = _batched(load, records, streams, prices.redis_us, prices.redis_batch_us)
    return written, _batched(load, records, 1, prices.intake_us, prices.intake_batch_us)


def _groups(load: Load, prices: Prices) -> int:
    """Into how many groups streams are to be divided, each with a Redis and edges of its own: so
    many that neither spends more than half of its time on what only comes in.
    """
    for groups in range(1, load.streams + 1):
        if max(_in_group(load, prices, groups)) <= load.busy * 1e6 / 2:
            return groups
    raise ValueError(
        f"{load.records / load.streams:,.0f} records/s of one stream are more than an edge can "
        "take: divide it into more streams"
    )


def table(load: Load, prices: Prices | None = None) -> str:
    """The needs in words, as a table in Markdown."""
    found = needs(load, prices)
    lines = [
        (
            "groups of streams",
            f"{found.groups}",
            "each with a Redis and edges of its own: an edge takes all records of its streams",
        ),
        ("ingest daemons", f"{found.ingests}", f"{load.records:,g} records/s in all"),
        (
            "Redis",
            f"{found.redis}",
            f"{found.redis_each} in each group, {found.redis_busy:.0%} of a core busy; "
            f"one feeds {found.edges_max_per_redis} edges",
        ),
        (
            "edges",
            f"{found.edges:,}",
            f"{found.clients_per_edge:,} clients each; what decides is {found.decides}",
        ),
        (
            "an edge's core",
            f"{found.intake + found.delivering:.0%}",
            f"{found.intake:.0%} taking records, {found.delivering:.0%} delivering",
        ),
        (
            "machines",
            f"{found.machines}",
            f"of {load.cores} cores, without proxies and standbys",
        ),
        (
            "memory",
            f"{size(found.memory_per_edge)}",
            f"for each edge and its sockets; {size(found.redis_bytes)} for each Redis",
        ),
        (
            "network",
            f"{bits(found.clients_bits)}",
            f"to all clients; {bits(found.redis_bits)} from each Redis to its edges",
        ),
        (
            "descriptors",
            f"{found.clients_per_edge + 100:,}",
            "for each edge (`LimitNOFILE`); a proxy has two for each client",
        ),
        (
            "an edge dies",
            f"{found.storm_s:.1f} s",
            "until the others of its group have taken its clients, who all come at once",
        ),
        ("all edges start", f"{found.all_back_s:.1f} s", "until all clients are back"),
    ]
    head = "| what | how much | why |\n|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def size(value: float) -> str:
    """Bytes in GiB or MiB."""
    return f"{value / GIB:.1f} GiB" if value >= GIB else f"{value / MIB:.0f} MiB"


def bits(value: float) -> str:
    """Bits a second in Gbit or Mbit."""
    return f"{value / 1e9:.1f} Gbit/s" if value >= 1e9 else f"{value / 1e6:.0f} Mbit/s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for what was given."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.model", description=__doc__, allow_abbrev=False
    )
    kinds: dict[str, type[Load] | type[Prices]] = {}
    for kind in (Load, Prices):
        for one in fields(kind):
            kinds[one.name] = kind
            parser.add_argument(
                "--" + one.name.replace("_", "-"),
                type=type(one.default),
                default=one.default,
                help=f"{one.metadata.get('about', '')} (%(default)s)",
            )
    given = vars(parser.parse_args(arguments))
    try:
        load = Load(**{n: v for n, v in given.items() if kinds[n] is Load})
        prices = Prices(**{n: v for n, v in given.items() if kinds[n] is Prices})
        print(table(load, prices), end="")
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
