"""`flowd simulate` and `flowd run` as processes: Bybit's and OKX's liquidations from the one to the
readers of the other.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.process import COMMAND, Flowd

ADDRESS = re.compile(r'^\s+(\w+) = "(.+)"$')
WITHIN_S = 60.0


@pytest.fixture
def exchanges() -> Iterator[dict[str, str]]:
    """The addresses of simulated exchanges where much is liquidated, by their names."""
    command = [*COMMAND, "simulate", "--port=0", "--rest-port=0", "--rate=3000", "--fills=0"]
    env = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            found: dict[str, str] = {}
            for line in process.stdout:
                if match := ADDRESS.match(line.rstrip()):
                    found[match[1]] = match[2]
                if "Ctrl+C" in line:
                    break
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def sources(found: dict[str, str]) -> str:
    """Liquidations and instruments of both, from these addresses."""
    return "\n".join(
        f'[sources.{venue}]\nkind = "{venue}-liquidations"\nsymbols = ["*"]\n'
        f'url = "{found[venue]}"\nrest_url = "{found[f"{venue}_rest"]}"\n'
        f'[sources.{venue}-listed]\nkind = "{venue}-instruments"\n'
        f'rest_url = "{found[f"{venue}_rest"]}"\n'
        for venue in ("bybit", "okx")
    )


async def test_what_simulated_venues_tell_comes_to_the_readers(
    exchanges: dict[str, str], tmp_path: Path
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
