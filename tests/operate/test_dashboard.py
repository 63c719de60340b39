"""What `flowd status --watch` shows: a dashboard for people, lines for programs."""

import os
from typing import Any

import pytest
from rich.console import Console

from flowd.operate import dashboard


def part(name: str, **more: Any) -> dict[str, Any]:
    plain = {
        **{"name": name, "table": "sources", "state": "running", "error": None, "problem": None},
        **{"delivering": True, "connected": True, "rate_per_s": 12.345678, "lag_ms": 1016},
        **{"behind": 0, "overtaken": None, "restarts": 0, "last_record_ago_ms": 171},
    }
    return {**plain, **more}


def status(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **{"version": "0.1.0", "healthy": True, "uptime_s": 93784.2, "time_ms": 1_790_000_000_000},
        "components": list(parts),
        "clients": {"live": 812, "behind": 3, "slow": 9, "gone_slow": 1, "delivered": 123456789},
        "memory": {"rss_bytes": 84_000_000},
        "loop": {"longest_hold_ms": 14.25, "recent_hold_ms": 4.25},
        "snapshot": {
            **{"error": None, "saved_ago_ms": 1200, "took_ms": 12.4, "failures": 0},
            **{"journal_bytes": 65536, "journal_ago_ms": 80, "journal_error": None},
        },
        "budgets": {},
        **more,
    }


def shown(found: dict[str, Any], *gaps: dict[str, Any]) -> list[str]:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=100, record=True, file=nowhere)
        console.print(dashboard.dashboard(found, gaps))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_each_component_has_a_row_with_what_an_operator_looks_at() -> None:
    transform = part("volume", table="transforms", behind=17, restarts=2, last_record_ago_ms=61_000)
    sink = part("sse", table="sinks", lag_ms=None, behind=4, last_record_ago_ms=None)

    lines = shown(status(part("orders"), transform, sink))

    assert lines[0].startswith("flowd 0.1.0: healthy, up 1.1d")
    assert lines[2].split() == ["orders", "running", "12.3", "1.0s", "-", "171ms", "-"]
    assert lines[3].split() == ["volume", "running", "12.3", "1.0s", "17", "1.0m", "2"]
    assert lines[4].split() == ["sse", "running", "-", "-", "4", "-", "-"]


def test_what_it_is_among_others_is_told_and_who_they_are() -> None:
    ingest = {"role": "ingest", "addresses": ["http://one:4200/"], "host": "one", "pid": 7}
    ingest |= {"healthy": True, "clients": 3, "lag_ms": 0, "version": "0.1.0", "age_ms": 1100}
    edge = {**ingest, "role": "edge", "addresses": [], "healthy": False, "lag_ms": 2500}
    gone = {**ingest, "role": "edge", "age_ms": 45_000}

    found = status(part("orders"), role="edge", lag_ms=12, peers=[ingest, edge, gone])
    lines = shown(found)

    assert lines[0] == "flowd 0.1.0: healthy, up 1.1d, edge, 12ms behind"
    rows = [line.split() for line in lines[3:7]]
    assert rows[0] == ["peer", "at", "health", "lag", "clients", "version", "heard"]
    assert rows[1] == ["ingest", "one:4200", "healthy", "0ms", "3", "0.1.0", "1.1s", "ago"]
    assert rows[2] == ["edge", "one:7", "degraded", "2.5s", "3", "0.1.0", "1.1s", "ago"]
    assert rows[3] == ["edge", "one:4200", "silent", "-", "3", "0.1.0", "45.0s", "ago"]


def test_a_daemon_that_is_alone_says_nothing_of_others() -> None:
    found = status(part("orders"), role="alone", lag_ms=None, peers=[])

    assert shown(found) == shown(status(part("orders")))


def test_clients_memory_state_and_budgets_are_told() -> None:
    budget = {"used": 37, "limit": 1200, "waiting": 2, "refused": 1, "closed_s": 30.0}

    text = "\n".join(shown(status(part("orders"), budgets={"fapi.binance.com": budget})))

    assert "812 live, 3 behind, 9 were slow, 1 let go for that" in text
    assert "84 MB; loop held 4.2 ms of late, 14.2 ever" in text
    assert "saved 1.2s ago in 12 ms; journal of 64 KiB, written 80ms ago; 0 saves failed" in text
    assert "fapi.binance.com: 37 of 1200 a minute, 2 waiting, 1 refused, closed for 30s" in text


def test_what_is_wrong_stands_below_the_table() -> None:
    failing = part("orders", state="backoff", delivering=False, error="connection lost")
    late = part("candles", problem="data comes 9.0s late, more than lag_max = 5s")
    well = part("traders", error="an error of before")

    text = "\n".join(shown(status(failing, late, well)))

    assert "orders: connection lost" in text
    assert "candles: data comes 9.0s late" in text
    assert "an error of before" not in text


def test_gaps_are_told_with_their_reason_and_what_became_of_them() -> None:
    gap = {"component": "orders", "from_ms": 1_789_999_000_000, "to_ms": 1_789_999_090_000}
    lost = {**gap, "reason": "upstream silent for 60s", "recovered": None}
    found = {**gap, "reason": "restarted", "recovered": 12}
    still = {**gap, "to_ms": None, "reason": "[refused]", "recovered": None}

    gaps = [line for line in shown(status(), lost, found, still) if line.startswith("gap")]

    assert gaps[0].endswith("for 16.7m: [refused]; still open")
    assert gaps[1].endswith("for 1.5m: restarted; 12 records came later")
    assert gaps[2].endswith("for 1.5m: upstream silent for 60s; lost")


def test_only_the_newest_gaps_are_shown() -> None:
    gap = {"component": "orders", "from_ms": 0, "to_ms": 1, "recovered": None}
    many = [{**gap, "reason": f"reason {number}"} for number in range(40)]

    gaps = [line for line in shown(status(), *many) if line.startswith("gap")]

    assert len(gaps) == dashboard.GAPS
    assert "reason 39" in gaps[0]


def test_in_a_pipe_each_look_is_one_line() -> None:
    failing = part("orders", state="backoff", delivering=False, error="lost:\n the connection")

    line = dashboard.line(status(part("a"), failing, healthy=False))

    assert line == (
        "2026-09-21T14:13:20Z degraded, 1 of 2 components running, 24.7 records/s, 812 clients, "
        "3 behind, 84 MB, loop 4.2 ms; orders: lost: the connection"
    )
    assert dashboard.line(status(part("a"))).endswith(", loop 4.2 ms")


def test_a_state_that_cannot_be_saved_is_among_the_troubles() -> None:
    found = status(part("a"))
    found["snapshot"]["error"] = "no space left on device"

    assert "no space left on device" in dashboard.line(found)


def test_of_several_processes_each_has_a_row() -> None:
    row = {"name": "edge-1", "pid": 71, "state": "running", "error": None, "restarts": 1}
    row |= {"healthy": True, "clients": 400, "delivered": 9000, "lag_ms": 3}
    row |= {"rss_bytes": 84_000_000, "recent_hold_ms": 4.25, "uptime_s": 8.0}
    gone = {"name": "edge-2", "pid": None, "state": "backoff", "restarts": 4, "healthy": False}
    gone |= {"error": "was ended by SIGKILL", "uptime_s": None}

    lines = shown(status(part("orders"), processes=[row, gone]))

    words = [line.split() for line in lines]
    assert ["edge-1", "71", "running", "400", "9000", "3ms", "84", "4ms", "1"] in words
    assert ["edge-2", "-", "backoff", "-", "-", "-", "-", "-", "4"] in words
    assert "edge-2: was ended by SIGKILL" in lines


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ({"role": "leader", "standby": None, "standby_behind": None}, "leads; nobody stands by"),
        (
            {"role": "leader", "standby": "b:7", "standby_behind": 3},
            "leads; b:7 stands by, 3 frames behind",
        ),
        (
            {"role": "leader", "standby": "b:7", "standby_behind": None},
            "leads; b:7 stands by, and does not follow yet",
        ),
        (
            {"role": "standby", "leader": "a:7", "behind": 0},
            "stands by, 0 frames behind; a:7 leads",
        ),
        (
            {"role": "standby", "leader": None, "behind": None},
            "stands by, and does not follow yet; nobody leads",
        ),
    ],
)
def test_of_a_pair_it_is_told_who_leads_and_what_is_wrong(pair: dict[str, Any], line: str) -> None:
    lines = shown(status(pair={**pair, "problem": "the lease ran out 4s ago"}))

    assert line in lines
    assert "pair: the lease ran out 4s ago" in lines
