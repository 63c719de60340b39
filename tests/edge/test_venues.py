"""`flowd simulate` and `flowd run` as processes: Bybit's and OKX's liquidations from the one to the
readers of the other.
"""

import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge.process import COMMAND, Flowd

WITHIN_S = 60.0


@pytest.fixture
def exchanges() -> Iterator[dict[str, Any]]:
    """Sources on simulated exchanges where much is liquidated, as they are to be configured."""
    command = [*COMMAND, "simulate", "--port=0", "--rest-port=0", "--rate=3000", "--fills=0"]
    env = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            told = ""
            for line in process.stdout:
                if "Ctrl+C" in line:
                    break
                told += line
            yield tomllib.loads(told.partition("In flowd.toml:\n")[2])["sources"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def sources(found: dict[str, Any]) -> str:
    """Liquidations and instruments of both, from these addresses."""
    lines = []
    for venue in ("bybit", "okx"):
        one = found[f"{venue}-liquidations"]
        lines.append(
            f'[sources.{venue}]\nkind = "{one["kind"]}"\nsymbols = ["*"]\n'
            f'url = "{one["url"]}"\nrest_url = "{one["rest_url"]}"\n'
            f'[sources.{venue}-listed]\nkind = "{venue}-instruments"\n'
            f'rest_url = "{one["rest_url"]}"\n'
        )
    return "\n".join(lines)


async def test_what_simulated_venues_tell_comes_to_the_readers(
    exchanges: dict[str, Any], tmp_path: Path
) -> None:
    with Flowd(tmp_path, None, extra=sources(exchanges)) as daemon:
        await daemon.start()

        for venue, kind, coverage in (("bybit", "bankruptcy", "all"), ("okx", "mark", "sampled")):

            async def poll(venue: str = venue) -> list[dict[str, str]]:
                found = await daemon.poll("?symbol=BTCUSDT,ETHUSDT,SOLUSDT", venue)
                return [record["value"] for record in found["records"]]

            values = await daemon.until(poll, lambda values: len(values) >= 3, WITHIN_S)
            for value in values:
                assert value["venue"] == venue
                assert (value["price_kind"], value["coverage"]) == (kind, coverage)
            listed = await daemon.poll("?symbol=BTCUSDT", f"{venue}-listed")
            (instrument,) = [record["value"] for record in listed["records"]]
            assert float(instrument["tick"]) == 0.1
        await daemon.stop()
