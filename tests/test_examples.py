"""What lies in examples/: that it fits what flowd has. What needs other programs is tried in
tests/edge.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
METRICS = {
    name: {"instance", "job", "role", *re.findall(r"`(\w+)`", labels)}
    for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", PAGE, re.MULTILINE)
} | {"up": {"instance", "job", "role"}}
"""Labels by metric, with those that Prometheus itself gives."""
WORDS = {"and", "or", "unless", "bool", "offset"}
LISTS = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)")
SELECTED = re.compile(r"([a-z_]\w*)\s*\{([^}]*)\}")


def read(path: str) -> Any:
    return yaml.safe_load((EXAMPLES / path).read_text("utf-8"))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / "grafana/flowd.json").read_text("utf-8"))
    return found


def queries() -> list[str]:
    """All of the dashboard, as Grafana sends them."""
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [one["expr"] for one in board["annotations"]["list"]]
    return [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in found]


def rules() -> dict[str, str]:
    """The alerts' expressions by name."""
    (group,) = read("prometheus/alerts.yml")["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def asked(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression names, each with the labels that it is asked for."""
    found: dict[str, set[str]] = {}
    for name, labels in SELECTED.findall(expression):
        told = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", labels)))
        found.setdefault(name, set()).update(told)
    bare = LISTS.sub(" ", re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression))
    for name in re.findall(r"\b([a-zA-Z_]\w*)\b(?!\s*\()", bare):
        if name not in WORDS | {"by", "on"}:
            found.setdefault(name, set())
    return found


def documented(name: str) -> str:
    """A metric's name in the table: of a histogram, without what Prometheus adds."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if name not in METRICS else name


def test_the_way_in_which_expressions_are_read_finds_what_they_name() -> None:
    text = 'sum by (le) (rate(a_bucket{x=~"y", z!="w"}[5m])) > 2 * on (q) group_left () b and c{}'

    assert asked(text) == {"a_bucket": {"x", "z"}, "b": set(), "c": set()}


@pytest.mark.parametrize("expression", [*queries(), *rules().values()])
def test_every_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    found = asked(expression)

    assert found
    for name, labels in found.items():
        assert documented(name) in METRICS, name
        assert labels <= METRICS[documented(name)] | {"le"}
    named = {label for _, text in LISTS.findall(expression) for label in re.findall(r"\w+", text)}
    assert named <= {"le"}.union(*(METRICS[documented(name)] for name in found))


def test_every_alert_is_tried() -> None:
    tried = (ROOT / "tests/alerts_test.yml").read_text("utf-8")

    assert set(rules()) == set(re.findall(r'alertname="(\w+)"', tried))


def test_every_alert_says_what_is_the_matter_and_where() -> None:
    (group,) = read("prometheus/alerts.yml")["groups"]

    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "warning")
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= set().union(*(METRICS[documented(one)] for one in asked(rule["expr"])))


def test_the_dashboard_s_panels_lie_beside_each_other_and_ask_the_one_source_there_is() -> None:
    board = dashboard()
    (source,) = read("grafana/datasource.yml")["datasources"]

    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["description"]
        assert {
            panel["datasource"]["uid"],
            *(one["datasource"]["uid"] for one in panel["targets"]),
        } == {source["uid"]}
    shown = {name for one in queries() for name in asked(one)}
    assert {
        "flowd_clients_live",
        "flowd_clients_delivered_total",
        "flowd_clients_slow_total",
        "ws_broadcast_duration_seconds_bucket",
        "flowd_component_lag_seconds",
        "flowd_clients_gaps_total",
    } <= shown
