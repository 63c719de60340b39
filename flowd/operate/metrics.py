"""The status as Prometheus text. docs/reference/metrics.md lists all of it."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from flowd.operate.status import ComponentStatus, Status
from flowd.values.peers import SILENT_S


class _Metrics(Collector):
    """One status as Prometheus metric families; made anew for each scrape, since the status is the
    truth.
    """

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Any:
        """All families."""
        status = self._status
        yield _gauge(
            "flowd_build_info",
            "1, with what runs",
            [((status.version, platform.python_version()), 1)],
            ("version", "python"),
        )
        yield from _process(status)
        yield _gauge("flowd_up", "1 while everything does what it is for", [((), status.healthy)])
        yield _gauge("flowd_uptime_seconds", "Since the start", [((), status.uptime_s)])
        yield from _among_others(status)
        yield from _pair(status.pair)
        parts = status.components
        yield _gauge(
            "flowd_component_healthy",
            "1 if the component runs and delivers",
            [((part.name, part.kind), part.healthy) for part in parts],
            ("component", "kind"),
        )
        counters = {
            "restarts": "Starts after the first",
            "messages": "Messages from upstream",
            "published": "Records published",
            "duplicates": "Repeated events ignored",
            "missed": "Records that fell off before the component read them",
        }
        for name, words in counters.items():
            yield _counter(
                f"flowd_component_{name}",
                words,
                [((part.name,), getattr(part, name)) for part in parts],
                ("component",),
            )
        yield _counter(
            "flowd_component_dropped",
            "Unusable messages by reason",
            [((p.name, reason), n) for p in parts for reason, n in p.dropped.items()],
            ("component", "reason"),
        )
        yield from _places(parts)
        for name, words in (
            ("records", "Records retained"),
            ("held", "Records held beyond that for who is behind"),
            ("seen_ids", "Ids remembered"),
        ):
            yield _gauge(
                f"flowd_stream_{name}",
                words,
                [((stream.name,), getattr(stream, name)) for stream in status.streams],
                ("stream",),
            )
        yield _counter(
            "flowd_stream_appended",
            "Records ever appended, also before this start",
            [((stream.name,), int(stream.position.split(".")[1])) for stream in status.streams],
            ("stream",),
        )
        budgets = status.budgets.items()
        for name, words in (
            ("used", "Weight that counts, of the last minute"),
            ("limit", "Weight per minute"),
            ("waiting", "Questions that wait for their turn"),
        ):
            yield _gauge(
                f"flowd_budget_{name}",
                words,
                [((service,), told[name]) for service, told in budgets],
                ("service",),
            )
        yield _counter(
            "flowd_budget_refused",
            "Times that the service refused us for having asked too much",
            [((service,), told["refused"]) for service, told in budgets],
            ("service",),
        )
        yield _counter(
            "flowd_budget_spent",
            "Weight spent, by component",
            [((s, who), weight) for s, told in budgets for who, weight in told["spent"].items()],
            ("service", "component"),
        )
        clients = status.clients
        for name in ("live", "behind", "channels", "connections_open"):
            yield _gauge(f"flowd_clients_{name}", f"Clients: {name}", [((), clients[name])])
        for name in ("delivered", "slow", "gone_slow", "gaps"):
            yield _counter(f"flowd_clients_{name}", f"Clients: {name}", [((), clients[name])])
        for name, label in (("refused", "reason"), ("gone", "reason"), ("requests", "door")):
            yield _counter(
                f"flowd_clients_{name}",
                f"Clients: {name}",
                [((key,), n) for key, n in clients[name].items()],
                (label,),
            )
        yield from _audiences(clients["audiences"])
        yield _gauge(
            "flowd_loop_longest_hold_seconds",
            "Longest hold of the event loop by one step",
            [((), status.loop["longest_hold_ms"] / 1000)],
        )
        yield _gauge("flowd_memory_bytes", "Resident memory", [((), status.memory["rss_bytes"])])
        yield _counter("flowd_snapshot_saves", "Saves", [((), status.snapshot["saves"])])
        yield _counter("flowd_snapshot_failures", "Failed", [((), status.snapshot["failures"])])


def _among_others(status: Status) -> Iterator[Any]:
    yield _gauge("flowd_role", "1, with what it is among others", [((status.role,), 1)], ("role",))
    there = {peer["role"]: 0 for peer in status.peers}
    for peer in status.peers:
        there[peer["role"]] += peer["age_ms"] <= SILENT_S * 1000
    yield _gauge(
        "flowd_peers",
        "Other daemons that were heard of just now, by what they are",
        [((role,), count) for role, count in there.items()],
        ("role",),
    )
    if status.lag_ms is not None:
        yield _gauge(
            "flowd_lag_seconds",
            "How much later than the ingest's its readers get what comes, or others what it sends",
            [((), status.lag_ms / 1000)],
        )


def _pair(told: Mapping[str, Any]) -> Iterator[Any]:
    """The lease, and how far who stands by is; nothing where there is no pair. Much of it only the
    one that leads knows.
    """
    if not told:
        return
    leads = told["role"] == "leader"
    whose = "standby_behind" if leads else "behind"
    gauges = [
        ("leading", "1 while it leads, 0 while it stands by", leads),
        ("behind_frames", "Frames that who stands by does not know", told[whose]),
        ("behind_seconds", "How long there has been such a frame", told[f"{whose}_s"]),
    ]
    counters = [("takeovers", "Times that this process took the lease", told["takeovers"])]
    if leads:
        gauges += [
            ("standby", "1 while another daemon stands by", told["standby"] is not None),
            ("lease_left_seconds", "How long the lease lasts", told["lease_left_s"]),
            ("token", "What fences off who led before", told["token"]),
            ("waiting_bytes", "Frames that wait to be shipped", told["frames_waiting_bytes"]),
            ("kept_bytes", "Frames that are kept for who stands by", told["frames_kept_bytes"]),
            ("max_bytes", "How much of either there may be", told["frames_bytes_max"]),
        ]
        counters += [
            ("shipped", "Frames shipped", told["frames_shipped"]),
            ("begun_anew", "Times that frames began anew", told["frames_begun_anew"]),
            ("handovers", "Times that the whole state was given away", told["handovers"]),
        ]
    for name, words, number in gauges:
        if number is not None:
            yield _gauge(f"flowd_pair_{name}", words, [((), number)])
    for name, words, number in counters:
        yield _counter(f"flowd_pair_{name}", words, [((), number)])
    sources = told.get("sources", {}).items()
    for name, words in (
        ("delivering", "1 if a standby's own connection delivers"),
        ("records", "What it was told and holds"),
        ("bytes", "The same in bytes"),
        ("limit_bytes", "How much it may hold"),
    ):
        yield _gauge(
            f"flowd_pair_source_{name}",
            words,
            [((source,), one[name]) for source, one in sources],
            ("component",),
        )


def _process(status: Status) -> Iterator[Any]:
    """What Prometheus' libraries tell of every process. When this one began is ours to say: it is
    reckoned from a file that a service of systemd does not see.
    """
    for family in ProcessCollector(registry=None).collect():
        if family.name != "process_start_time_seconds":
            yield family
    started_s = status.started_ms / 1000
    yield _gauge("process_start_time_seconds", "When the daemon began", [((), started_s)])


def _places(parts: Sequence[ComponentStatus]) -> Iterator[Any]:
    """How far each component is, and what else its plugin counts."""
    yield _gauge(
        "flowd_component_delivering",
        "1 if a source's upstream delivers",
        [((p.name,), p.delivering) for p in parts if p.delivering is not None],
        ("component",),
    )
    for name, words, told in (
        ("lag", "How old what happened was when it became the newest record", "lag_ms"),
        ("record_age", "Since the last record that it published", "last_record_ago_ms"),
    ):
        ages = [(part.name, getattr(part, told)) for part in parts]
        yield _gauge(
            f"flowd_component_{name}_seconds",
            words,
            [((part,), age_ms / 1000) for part, age_ms in ages if age_ms is not None],
            ("component",),
        )
    reads = [part for part in parts if part.behind_max is not None]
    for name, words in (
        ("behind", "Records of its inputs that it has still to deal with"),
        ("behind_max", "Records that are held for it at most"),
    ):
        yield _gauge(
            f"flowd_component_{name}",
            words,
            [((part.name,), getattr(part, name)) for part in reads],
            ("component",),
        )
    yield _counter(
        "flowd_sink_delivered",
        "Records that a sink pushed and that were acknowledged",
        [((part.name, part.kind), part.published) for part in reads if part.table == "sinks"],
        ("component", "kind"),
    )
    yield _gauge(
        "flowd_component_figure",
        "What its plugin counts and limits",
        [((p.name, p.kind, name), n) for p in parts for name, n in p.figures.items()],
        ("component", "kind", "figure"),
    )


def _audiences(audiences: dict[str, Any]) -> Iterator[Any]:
    """Who follows what, for the paths that count it. These names are those of the field, without a
    `flowd_`: dashboards of others know them.
    """
    for path, told in audiences.items():
        labels = ("path", told["by"])
        yield _gauge(
            "ws_active_connections",
            "Clients that follow it",
            [((path, name), count) for name, count in told["clients"].items()],
            labels,
        )
        for family, part, words in (
            ("ws_messages_sent", "sent", "Messages about it, one for each client"),
            ("ws_slow_consumers", "slow", "Times that a client was told it is too slow"),
        ):
            yield _counter(
                family, words, [((path, name), n) for name, n in told[part].items()], labels
            )
        durations = HistogramMetricFamily(
            "ws_broadcast_duration_seconds",
            "Writing one message to all who keep up",
            labels=labels,
        )
        for name, took in told["took"].items():
            durations.add_metric((path, name), took["buckets"], took["sum_s"])
        yield durations


Samples = list[tuple[tuple[str, ...], float]]


def _gauge(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Any:
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, float(number))
    return family


def _counter(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Any:
    family = CounterMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, float(number))
    return family


def prometheus(status: Status) -> bytes:
    """The status in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(status))
    return generate_latest(registry)
