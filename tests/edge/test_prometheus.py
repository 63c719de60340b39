"""The examples for Prometheus, by Prometheus itself: rules, their tests, and a scrape of real
daemons.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import fetch
from tests.edge.process import free_port, until
from tests.needed import lacking
from tests.test_examples import EXAMPLES, ROOT, asked, queries, read

NOT_HERE = {
    *("flowd_clients_gone_total", "flowd_clients_refused_total", "flowd_component_dropped_total"),
    *("flowd_component_behind", "flowd_component_healthy", "flowd_component_figure"),
    *("flowd_sink_delivered_total", "ws_broadcast_duration_seconds_bucket"),
    "process_start_time_seconds",
    *("flowd_pair_leading", "flowd_pair_behind_seconds", "flowd_pair_lease_left_seconds"),
    *("flowd_pair_takeovers_total", "flowd_pair_handovers_total"),
}
"""Of queries without an answer: those of sinks, clients, mistakes and a pair that these daemons do
not have, and that of when one was started again.
"""


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    """Where Prometheus' two programs are."""
    found = {name: shutil.which(name) for name in ("promtool", "prometheus")}
    if not all(found.values()):
        lacking("there is no prometheus here; `apt-get install prometheus` brings it")
    return {name: str(path) for name, path in found.items()}


def promtool(programs: dict[str, str], *line: str | Path) -> str:
    found = subprocess.run(
        [programs["promtool"], *line], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_rules_and_the_configuration_are_good(programs: dict[str, str]) -> None:
    told = promtool(programs, "check", "config", EXAMPLES / "prometheus/prometheus.yml")

    assert "1 rule files found" in told


def test_each_alert_comes_where_it_must_and_not_before(
    programs: dict[str, str], tmp_path: Path
) -> None:
    for file in (ROOT / "tests/alerts_test.yml", EXAMPLES / "prometheus/alerts.yml"):
        shutil.copy(file, tmp_path)

    assert "SUCCESS" in promtool(programs, "test", "rules", tmp_path / "alerts_test.yml")


def test_a_threshold_that_is_wrong_is_noticed_by_these_tests(
    programs: dict[str, str], tmp_path: Path
) -> None:
    text = (EXAMPLES / "prometheus/alerts.yml").read_text("utf-8")
    (tmp_path / "alerts.yml").write_text(text.replace("> 30000", "> 30001"))
    shutil.copy(ROOT / "tests/alerts_test.yml", tmp_path)

    with pytest.raises(AssertionError, match="FlowdSinkLags"):
        promtool(programs, "test", "rules", tmp_path / "alerts_test.yml")


async def test_prometheus_answers_every_query_of_the_dashboard_from_real_daemons(
    programs: dict[str, str], flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    daemons = {role: await flowd().start() for role in ("ingest", "edge")}
    last = exchange.say(3)[-1]
    for daemon in daemons.values():
        await daemon.reached(last)
    config: dict[str, Any] = read("prometheus/prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    for group in job["static_configs"]:
        group["targets"] = [f"127.0.0.1:{daemons[group['labels']['role']].port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(EXAMPLES / "prometheus/alerts.yml", tmp_path)
    port = free_port()
    line = [
        programs["prometheus"],
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    async def result(query: str) -> list[Any]:
        try:
            answer = await fetch(port, f"/api/v1/query?query={quote(query)}")
        except OSError:
            return []
        if answer.status == 503:
            return []
        found = json.loads(answer.body)
        assert found["status"] == "success", (query, found)
        data: list[Any] = found["data"]["result"]
        return data

    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(line, stdout=log, stderr=log) as process,  # noqa: ASYNC220
    ):
        try:
            await until(lambda: result("count(flowd_up == 1) == 2"), bool)
            # A rate needs two scrapes.
            await until(lambda: result("count(rate(flowd_uptime_seconds[1m])) == 2"), bool)
            answered = {query: await result(query) for query in queries()}
            alerts = await result('ALERTS{alertname!="FlowdDifferentVersions"}')
        finally:
            process.terminate()

    empty = {name for query, found in answered.items() if not found for name in asked(query)}
    assert empty == NOT_HERE
    assert alerts == []
