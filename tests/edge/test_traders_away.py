"""What leaves a daemon that follows traders: webhooks of what somebody watches, and the history as
files. A real process, its exchange, and a receiver on loopback.
"""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import flowd_history
import pytest
import trio
from flowd_simulator.door import serve_http
from flowd_simulator.hyperliquid import Answer
from typer.testing import CliRunner

from tests.edge.process import Flowd
from tests.edge.venue import Venue

LONG_S = 300.0
KEPT = ("traders.trades", "positions", "leaderboard")
Json = dict[str, Any]


@pytest.fixture
def venue() -> Iterator[Venue]:
    with Venue() as found:
        found.trade()
        yield found


class Receiver:
    """Takes whatever webhooks send, by path."""

    def __init__(self) -> None:
        self.told: dict[str, list[Json]] = {"/flips": [], "/watched": []}

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await serve_http(stream, self._take)

    async def _take(self, method: str, path: str, body: bytes) -> Answer:
        self.told[path] += json.loads(body)
        await trio.lowlevel.checkpoint()
        return Answer(200, b"")

    async def values(self, path: str) -> list[Json]:
        """What came there."""
        await trio.lowlevel.checkpoint()
        return [record["value"] for record in self.told[path]]


def config(venue: Venue, folder: Path, at: str, watched: str) -> str:
    """A daemon that tells of every flip, and of all that one trader does, and keeps a history."""
    kept = ", ".join(f'"{stream}"' for stream in KEPT)
    return f"""
{venue.discovery}
[transforms.positions]
kind = "hyperliquid-tracking"
input = "traders"
every = "1s"
batch_size = 9
{venue.info}
[transforms.leaderboard]
kind = "leaderboard"
{venue.info}
[transforms.watched]
kind = "position-alerts"
input = "positions"
addresses = ["{watched}"]

[sinks.flips]
kind = "webhook"
url = "{at}/flips"
input = "positions"
filter = {{ event = "FLIP" }}
every = "100ms"

[sinks.watch]
kind = "webhook"
url = "{at}/watched"
input = "watched"
every = "100ms"

[sinks.history]
kind = "history"
path = "{folder}/history.db"
inputs = [{kept}]
"""


@pytest.mark.timeout(LONG_S)
async def test_flips_and_a_watch_list_are_sent_and_each_column_is_exported_as_it_was_served(
    venue: Venue, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    receiver = Receiver()
    watched = venue.chain.tape.accounts.busiest.address
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, receiver.serve, 0, host="127.0.0.1")
            )
            at = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            text = config(venue, tmp_path, at, watched)
            daemon = stack.enter_context(Flowd(tmp_path, None, extra=text))
            await daemon.start(delivering=False)
            await daemon.until(partial(receiver.values, "/flips"), bool)
            await daemon.until(partial(receiver.values, "/watched"), bool)
            await daemon.until(
                partial(daemon.poll, stream="leaderboard"), lambda one: one["records"]
            )
            venue.trade(on=False)
            served = {name: (await daemon.poll(stream=name))["records"] for name in KEPT}
            await daemon.stop()
            nursery.cancel_scope.cancel()

    flips = await receiver.values("/flips")
    told = await receiver.values("/watched")
    events = {one["value"]["id"]: one["value"] for one in served["positions"]}
    assert {one["event"] for one in flips} == {"FLIP"}
    assert all(events.get(one["id"], one) == one for one in flips)
    assert {one["address"] for one in told} == {watched}
    assert len({one["event_id"] for one in told}) == len(told)
    for name in KEPT:
        lines = [json.loads(line) for line in exported(tmp_path, name, "jsonl").splitlines()]
        epochs = {line.pop("epoch") for line in lines}
        assert len(epochs) == 1
        assert {one["seq"]: one for one in served[name]}.items() <= {
            one["seq"]: one for one in lines
        }.items()
        rows = list(
            csv.DictReader(io.StringIO(exported(tmp_path, name, "csv").decode(), newline=""))
        )
        assert [tabled(row) for row in rows] == [texts(line) for line in lines]
        exported(tmp_path, name, "parquet")
        found = duckdb.connect().execute(f"SELECT * FROM '{tmp_path}/{name}.parquet'")
        names = [column[0] for column in found.description]
        cells = [tabled(dict(zip(names, row, strict=True))) for row in found.fetchall()]
        assert [plain(row, line) for row, line in zip(cells, lines, strict=True)] == [
            line["value"] for line in lines
        ]


def exported(folder: Path, stream: str, format: str) -> bytes:
    """What `flowd export` writes."""
    out = folder / f"{stream}.{format}"
    app, _ = flowd_history.flowd_commands()
    asked = [stream, "--db", f"{folder}/history.db", "-f", format, "-o", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.stderr
    return out.read_bytes()


def tabled(row: Json) -> Json:
    """A row's columns that are its value's."""
    return {name: cell for name, cell in row.items() if name not in OWN}


OWN = ("epoch", "seq", "recorded_ms", "key")


def texts(line: Json) -> dict[str, str]:
    """A value as the cells of a CSV file: nothing is an empty one, the rest as JSON has it."""
    found = {}
    for name, cell in line["value"].items():
        text = cell if isinstance(cell, str) else json.dumps(cell, separators=(",", ":"))
        found[name] = "" if cell is None else text
    return found


def plain(row: Json, line: Json) -> Json:
    """A typed row as JSON has it, where they mean the same."""
    found = {}
    for name, cell in row.items():
        said = line["value"][name]
        if isinstance(cell, Decimal):
            found[name] = said if cell == Decimal(said) else cell
        elif isinstance(said, list | dict):
            found[name] = json.loads(cell)
        else:
            found[name] = cell
    return found
