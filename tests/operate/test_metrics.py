"""The status as Prometheus reads it."""

import platform
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from flowd.operate.metrics import prometheus
from flowd.operate.status import ComponentStatus, Status, StreamStatus


def status(**more: Any) -> Status:
    values: dict[str, Any] = {
        "version": "1",
        "healthy": True,
        "started_ms": 0,
        "uptime_s": 12.5,
        "time_ms": 1000,
        "components": [
            ComponentStatus(
                "orders",
                "sources",
                "binance",
                "running",
                restarts=2,
                delivering=True,
                messages=10,
                published=7,
                duplicates=1,
                dropped={"not JSON": 3, 'odd "reason"\n\\': 1},
                missed=4,
                lag_ms=1500,
                last_record_ago_ms=2500,
                figures={"coins": 41},
            ),
            ComponentStatus("page", "sinks", "http", "failed"),
            ComponentStatus(
                *("hook", "sinks", "webhook", "running"),
                published=42,
                behind=43,
                behind_max=44,
                figures={"lag_ms": 45.5},
            ),
        ],
        "streams": [
            StreamStatus("orders", "Liquidation", "k3v9.18231", 5000, 5000, None, 1, 9, 46)
        ],
        "clients": {
            "live": 3,
            "behind": 1,
            "channels": 2,
            "connections_open": 4,
            "delivered": 100,
            "slow": 5,
            "gone_slow": 6,
            "gaps": 7,
            "refused": {"TOO_MANY_CLIENTS": 8},
            "gone": {"idle": 1},
            "requests": {"hot": 9, "live": 10},
            "audiences": {
                "/ws/heatmap": {
                    "by": "symbol",
                    "clients": {"BTCUSDT": 31},
                    "sent": {"BTCUSDT": 32},
                    "slow": {"BTCUSDT": 33},
                    "took": {
                        "BTCUSDT": {
                            "buckets": [("0.001", 1), ("+Inf", 3)],
                            "sum_s": 0.25,
                            "count": 3,
                        }
                    },
                }
            },
        },
        "snapshot": {"saves": 11, "failures": 12},
        "budgets": {
            "venue": {"used": 21, "limit": 22, "waiting": 23, "refused": 24, "spent": {"one": 25}}
        },
        "loop": {"longest_hold_ms": 2.5},
        "memory": {"rss_bytes": 123456},
        "limits": {},
        "plugins": [],
        "role": "edge",
        "lag_ms": 51,
        "peers": [
            {"role": role, "age_ms": age_ms}
            for role, age_ms in (("ingest", 9000), ("edge", 10), ("edge", 2000), ("edge", 7000))
        ],
        **more,
    }
    return Status(**values)


LEADER = {
    "role": "leader",
    "name": "a:1",
    "leader": "a:1",
    "token": 61,
    "lease_left_s": -1.5,
    "problem": None,
    "standby": "b:2",
    "standby_behind": 62,
    "standby_behind_s": 6.5,
    "takeovers": 63,
    "handovers": 64,
    "frames_bytes_max": 65,
    "frames_shipped": 66,
    "frames_waiting_bytes": 67,
    "frames_kept_bytes": 68,
    "frames_begun_anew": 69,
}
STANDBY = {
    "role": "standby",
    "name": "b:2",
    "leader": "a:1",
    "frame": 70,
    "behind": 71,
    "behind_s": 7.5,
    "takeovers": 72,
    "handover": False,
    "problem": None,
    "sources": {
        "orders": {
            "delivering": True,
            "error": None,
            "since_ms": 73,
            "records": 74,
            "bytes": 75,
            "limit_bytes": 76,
        }
    },
}


def samples(data: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples, by name and labels; fails on what Prometheus could not read."""
    found = {}
    for family in text_string_to_metric_families(data.decode()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(name: str, **labels: str) -> float:
    return samples(prometheus(status()))[name, tuple(sorted(labels.items()))]


def paired(told: dict[str, Any]) -> dict[str, float]:
    """The metrics of a pair without labels, by the rest of their names."""
    found = samples(prometheus(status(pair=told)))
    prefix = "flowd_pair_"
    return {
        name.removeprefix(prefix): number
        for (name, labels), number in found.items()
        if name.startswith(prefix) and not labels
    }


def test_the_daemon_is_up_while_all_is_well() -> None:
    assert value("flowd_up") == 1
    assert samples(prometheus(status(healthy=False)))["flowd_up", ()] == 0
    assert value("flowd_uptime_seconds") == 12.5


def test_what_it_is_among_others_can_be_watched() -> None:
    assert value("flowd_role", role="edge") == 1
    assert value("flowd_peers", role="ingest") == 0
    assert value("flowd_peers", role="edge") == 2
    assert value("flowd_lag_seconds") == 0.051
    alone = samples(prometheus(status(role="alone", lag_ms=None, peers=[])))
    assert alone["flowd_role", (("role", "alone"),)] == 1
    assert ("flowd_lag_seconds", ()) not in alone


def test_of_a_pair_the_one_that_leads_tells_of_its_lease_and_of_who_stands_by() -> None:
    assert paired(LEADER) == {
        "leading": 1,
        "token": 61,
        "lease_left_seconds": -1.5,
        "standby": 1,
        "behind_frames": 62,
        "behind_seconds": 6.5,
        "takeovers_total": 63,
        "handovers_total": 64,
        "max_bytes": 65,
        "shipped_total": 66,
        "waiting_bytes": 67,
        "kept_bytes": 68,
        "begun_anew_total": 69,
    }


def test_of_a_pair_the_one_that_stands_by_tells_how_far_it_and_its_connections_are() -> None:
    assert paired(STANDBY) == {
        "leading": 0,
        "behind_frames": 71,
        "behind_seconds": 7.5,
        "takeovers_total": 72,
    }
    found = samples(prometheus(status(pair=STANDBY)))
    orders = (("component", "orders"),)
    assert found["flowd_pair_source_delivering", orders] == 1
    assert found["flowd_pair_source_records", orders] == 74
    assert found["flowd_pair_source_bytes", orders] == 75
    assert found["flowd_pair_source_limit_bytes", orders] == 76


def test_how_far_nobody_is_who_does_not_follow_is_left_out() -> None:
    alone = paired({**LEADER, "standby": None, "standby_behind": None, "standby_behind_s": None})
    lost = paired({**STANDBY, "behind": None, "behind_s": None})

    assert alone["standby"] == 0
    for found in (alone, lost):
        assert not {"behind_frames", "behind_seconds"} & set(found)
    assert paired({}) == {}


def test_components_are_counted_by_name() -> None:
    assert value("flowd_component_healthy", component="orders", kind="binance") == 1
    assert value("flowd_component_healthy", component="page", kind="http") == 0
    assert value("flowd_component_restarts_total", component="orders") == 2
    assert value("flowd_component_messages_total", component="orders") == 10
    assert value("flowd_component_published_total", component="orders") == 7
    assert value("flowd_component_duplicates_total", component="orders") == 1
    assert value("flowd_component_missed_total", component="orders") == 4
    assert value("flowd_component_published_total", component="page") == 0


def test_how_far_a_component_is_can_be_watched() -> None:
    assert value("flowd_component_delivering", component="orders") == 1
    assert value("flowd_component_lag_seconds", component="orders") == 1.5
    assert value("flowd_component_record_age_seconds", component="orders") == 2.5
    assert value("flowd_component_behind", component="hook") == 43
    assert value("flowd_component_behind_max", component="hook") == 44


def test_what_is_not_known_of_a_component_is_left_out() -> None:
    found = samples(prometheus(status()))

    for name in ("lag_seconds", "record_age_seconds", "behind", "delivering"):
        assert (f"flowd_component_{name}", (("component", "page"),)) not in found
    assert ("flowd_sink_delivered_total", (("component", "page"), ("kind", "http"))) not in found


def test_a_sink_that_pushes_is_measured_by_what_was_taken() -> None:
    assert value("flowd_sink_delivered_total", component="hook", kind="webhook") == 42
    labels = {"component": "hook", "kind": "webhook", "figure": "lag_ms"}
    assert value("flowd_component_figure", **labels) == 45.5


def test_what_runs_and_since_when_is_told() -> None:
    assert value("flowd_build_info", version="1", python=platform.python_version()) == 1
    assert samples(prometheus(status(started_ms=5000)))["process_start_time_seconds", ()] == 5


def test_the_process_is_told_as_of_every_other() -> None:
    assert value("process_cpu_seconds_total") > 0
    assert value("process_resident_memory_bytes") > 1024 * 1024
    assert 0 < value("process_open_fds") < value("process_max_fds")


def test_the_documented_table_is_all_there_is() -> None:
    """Names, kinds and labels, both ways."""
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text("utf-8")
    page, _, of_several = page.partition("\n## Several processes\n")
    page += of_several.partition("\n## ")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    there: dict[str, tuple[str, set[str]]] = {}
    texts = [prometheus(status(pair=pair)).decode() for pair in (LEADER, STANDBY)]
    for family in (one for text in texts for one in text_string_to_metric_families(text)):
        counts = family.type == "counter"
        name = f"{family.name}_total" if counts else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        there[name] = (family.type, labels | there.get(name, ("", set()))[1])

    assert len(rows) == len(listed)
    assert listed == there


def test_what_was_dropped_is_counted_by_reason_whatever_it_holds() -> None:
    assert value("flowd_component_dropped_total", component="orders", reason="not JSON") == 3
    assert (
        value("flowd_component_dropped_total", component="orders", reason='odd "reason"\n\\') == 1
    )


def test_streams_are_measured() -> None:
    assert value("flowd_stream_records", stream="orders") == 5000
    assert value("flowd_stream_held", stream="orders") == 46
    assert value("flowd_stream_seen_ids", stream="orders") == 9
    assert value("flowd_stream_appended_total", stream="orders") == 18231


def test_clients_are_measured() -> None:
    assert value("flowd_budget_used", service="venue") == 21
    assert value("flowd_budget_refused_total", service="venue") == 24
    assert value("flowd_budget_spent_total", service="venue", component="one") == 25
    assert value("flowd_clients_live") == 3
    assert value("flowd_clients_behind") == 1
    assert value("flowd_clients_channels") == 2
    assert value("flowd_clients_connections_open") == 4
    assert value("flowd_clients_delivered_total") == 100
    assert value("flowd_clients_slow_total") == 5
    assert value("flowd_clients_gone_slow_total") == 6
    assert value("flowd_clients_gaps_total") == 7
    assert value("flowd_clients_refused_total", reason="TOO_MANY_CLIENTS") == 8
    assert value("flowd_clients_requests_total", door="hot") == 9


def test_what_an_audience_follows_is_measured_under_the_fields_names() -> None:
    labels = {"path": "/ws/heatmap", "symbol": "BTCUSDT"}

    assert value("ws_active_connections", **labels) == 31
    assert value("ws_messages_sent_total", **labels) == 32
    assert value("ws_slow_consumers_total", **labels) == 33
    assert value("ws_broadcast_duration_seconds_bucket", le="0.001", **labels) == 1
    assert value("ws_broadcast_duration_seconds_count", **labels) == 3
    assert value("ws_broadcast_duration_seconds_sum", **labels) == 0.25


def test_the_process_is_measured() -> None:
    assert value("flowd_loop_longest_hold_seconds") == 0.0025
    assert value("flowd_memory_bytes") == 123456
    assert value("flowd_snapshot_saves_total") == 11
    assert value("flowd_snapshot_failures_total") == 12


def test_a_daemon_without_components_has_metrics_too() -> None:
    found = samples(prometheus(status(components=[], streams=[])))

    assert found["flowd_up", ()] == 1
