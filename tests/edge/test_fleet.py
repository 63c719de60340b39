"""Five hundred clients behind nginx, moved between three edges while all that carries their streams
is killed and restarted: each of them gets each number once, the same bytes as everybody, or is told
exactly what it lacks.
"""

from pathlib import Path

import pytest

from tests.fleet.run import CLIENTS, Run

LONG_S = 600.0
"""A minute on two processors that have nothing else to do."""
SCENES = (
    *("edge killed", "redis restarted", "nginx reloaded", "ingest fails over", "two edges killed"),
)


@pytest.mark.timeout(LONG_S)
async def test_five_hundred_clients_get_each_number_once_whatever_is_killed(tmp_path: Path) -> None:
    verdict = await Run(tmp_path, seed=1).run(SCENES)

    assert verdict.good, str(verdict)
    assert verdict.scenes.total() == len(SCENES)
    assert set(verdict.visits) == {"_by_events", "_by_polls", "_by_websocket"}
    assert verdict.visits.total() > 2 * CLIENTS
    assert verdict.heard > CLIENTS * 50
