"""Several processes, told as one: health, status and metrics."""

from pathlib import Path
from typing import Any

from flowd.operate import siblings
from flowd.operate.siblings import Siblings, summed
from flowd.plugin import Peer


def row(name: str, state: str = "running", error: str | None = None) -> dict[str, Any]:
    restarts = 0 if state == "running" else 3
    return {"name": name, "pid": 7, "state": state, "error": error, "restarts": restarts}


def rows(**states: str) -> dict[str, Any]:
    names = ("server", "ingest", "edge-1", "edge-2")
    named = {name.replace("_", "-"): state for name, state in states.items()}
    processes = [row(name, *named.get(name, "running").split(": ", 1)) for name in names]
    return {"started_ms": 1000, "uptime_s": 60.0, "processes": processes}


OK = {"status": "ok", "problems": {}}


def part(name: str, table: str, **figures: Any) -> dict[str, Any]:
    zero = {"messages": 0, "published": 0, "duplicates": 0, "missed": 0}
    return {"name": name, "table": table, **zero, "dropped": {}, "figures": {}, **figures}


def status(*components: dict[str, Any], live: int = 0, hold: float = 1.0) -> dict[str, Any]:
    return {
        "version": "1.0",
        "healthy": True,
        "started_ms": 5000,
        "uptime_s": 5.0,
        "components": list(components),
        "streams": [{"name": "orders"}],
        "clients": {"live": live, "delivered": 10 * live, "refused": {"BUSY": live}},
        "memory": {"rss_bytes": 100},
        "loop": {"recent_hold_ms": hold},
        "limits": {
            **{"max_clients": 500, "memory_budget": 10, "outgoing_bytes": 1, "prepared_bytes": 2},
            "requests_per_s": 200,
        },
        "role": "edge",
        "behind": 2,
        "lag_ms": 30,
    }


# -- health


def test_all_are_well_together() -> None:
    told = {name: OK for name in ("ingest", "edge-1", "edge-2")}

    assert siblings.health(rows(), told) == OK


def test_what_is_wrong_at_an_edge_is_said_with_its_name() -> None:
    told = {
        "ingest": {"status": "degraded", "problems": {"orders": "connecting"}},
        "edge-1": {"status": "degraded", "problems": {"upstream": "away"}},
        "edge-2": OK,
    }

    assert siblings.health(rows(), told) == {
        "status": "degraded",
        "problems": {"orders": "connecting", "edge-1.upstream": "away"},
    }


def test_a_process_that_does_not_run_or_answer_is_a_problem() -> None:
    gone = rows(ingest="backoff: was ended by SIGKILL", server="starting")

    assert siblings.health(gone, {"edge-1": OK})["problems"] == {
        "server": "starting",
        "ingest": "backoff: was ended by SIGKILL",
        "edge-2": "does not answer",
    }


# -- status


def test_clients_are_counted_together_and_each_process_has_a_row() -> None:
    told = {
        "ingest": status(part("orders", "sources", published=9), live=0),
        "edge-1": status(live=3, hold=8.0),
        "edge-2": status(live=4),
    }

    found = siblings.status(rows(), told)

    assert found["clients"] == {"live": 7, "delivered": 70, "refused": {"BUSY": 7}}
    assert found["memory"] == {"rss_bytes": 300}
    assert found["loop"] == {"recent_hold_ms": 8.0}
    assert (found["started_ms"], found["uptime_s"]) == (1000, 60.0)
    assert found["components"] == [part("orders", "sources", published=9)]
    assert [one["name"] for one in found["processes"]] == ["server", "ingest", "edge-1", "edge-2"]
    edge = found["processes"][2]
    assert (edge["clients"], edge["delivered"], edge["lag_ms"]) == (3, 30, 30)
    assert edge["role"] == "edge"
    assert found["healthy"]


def test_limits_that_edges_share_out_are_those_of_all() -> None:
    told = {"ingest": status(), "edge-1": status(), "edge-2": status()}

    limits = siblings.status(rows(), told)["limits"]

    assert limits == {
        **{"max_clients": 1000, "memory_budget": 20, "outgoing_bytes": 2, "prepared_bytes": 4},
        "requests_per_s": 200,
    }


def test_what_a_sink_counts_at_the_edges_is_its_own() -> None:
    told = {
        "ingest": status(part("relay", "sinks")),
        "edge-1": status(part("relay", "sinks", figures={"relayed": 2}, dropped={"busy": 1})),
        "edge-2": status(part("relay", "sinks", figures={"relayed": 3})),
    }

    (relay,) = siblings.status(rows(), told)["components"]

    assert (relay["figures"], relay["dropped"]) == ({"relayed": 5}, {"busy": 1})


def test_without_the_ingest_an_edge_tells_what_there_is() -> None:
    told = {"edge-1": status(part("upstream", "sources"), live=1), "edge-2": status(live=1)}

    found = siblings.status(rows(ingest="backoff: ended with 1"), told)

    assert not found["healthy"]
    assert found["clients"]["live"] == 2
    assert found["streams"] == [{"name": "orders"}]
    assert found["processes"][1] == {**row("ingest", "backoff", "ended with 1"), "healthy": False}


def test_figures_of_one_shape_are_added_up() -> None:
    one = {"took": {"buckets": [["0.1", 2], ["+Inf", 3]], "sum_s": 0.5}, "by": "symbol"}
    two = {"took": {"buckets": [["0.1", 1], ["+Inf", 1]], "sum_s": 0.1}, "by": "symbol"}

    assert summed([one, two]) == {
        "took": {"buckets": [["0.1", 3], ["+Inf", 4]], "sum_s": 0.6},
        "by": "symbol",
    }
    assert summed([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    assert summed([[], []]) == []


def test_who_listens_in_their_folder_is_one_of_them_or_was() -> None:
    those = Siblings("ingest", Path("/run/flowd/flowd-a1"), ["ingest", "edge-1"])
    edge = Peer(addresses=("unix:/run/flowd/flowd-a1/edge-1.sock", "http://127.0.0.1:4200/"))

    assert those.have(edge)
    for addresses in (edge.addresses[1:], ("unix:/run/flowd/flowd-a10/edge-1.sock",), ()):
        assert not those.have(Peer(addresses=addresses))


# -- metrics


def test_each_sample_says_which_process_it_is_of() -> None:
    text = "# HELP flowd_up 1\n# TYPE flowd_up gauge\nflowd_up {}\n" + (
        "# HELP flowd_x_total X\n# TYPE flowd_x_total counter\n"
        'flowd_x_total{{stream="a\\"b"}} 5.0\n'
    )

    found = siblings.metrics(
        rows(edge_2="backoff: ended with 1"),
        {"ingest": text.format("1.0"), "edge-1": text.format("0.0")},
    ).decode()

    assert found.splitlines() == [
        "# HELP flowd_up 1",
        "# TYPE flowd_up gauge",
        'flowd_up{process="ingest"} 1.0',
        'flowd_up{process="edge-1"} 0.0',
        'flowd_up{process="edge-2"} 0.0',
        "# HELP flowd_x_total X",
        "# TYPE flowd_x_total counter",
        'flowd_x_total{process="ingest",stream="a\\"b"} 5.0',
        'flowd_x_total{process="edge-1",stream="a\\"b"} 5.0',
        "# HELP flowd_process_running 1 while the process serves",
        "# TYPE flowd_process_running gauge",
        'flowd_process_running{process="server"} 1.0',
        'flowd_process_running{process="ingest"} 1.0',
        'flowd_process_running{process="edge-1"} 1.0',
        'flowd_process_running{process="edge-2"} 0.0',
        "# HELP flowd_process_restarts_total Starts after the first",
        "# TYPE flowd_process_restarts_total counter",
        'flowd_process_restarts_total{process="server"} 0.0',
        'flowd_process_restarts_total{process="ingest"} 0.0',
        'flowd_process_restarts_total{process="edge-1"} 0.0',
        'flowd_process_restarts_total{process="edge-2"} 3.0',
    ]
