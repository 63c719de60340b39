"""What other plugins make of position events: they are records like any other."""

import json
from typing import Any

import flowd_hyperliquid
import flowd_webhook
import httpx2
import pytest
import trio
from attrs import evolve
from flowd_history.columns import columns_of

from flowd import testing
from flowd.market import Trade
from flowd.traders import PositionEvent, Standing
from tests.plugins.hyperliquid_kit import ALICE, BOB
from tests.plugins.test_traders_shapes import event

CONFIG = """
[sources.traders]
kind = "hyperliquid-discovery"
coins = ["BTC"]
[transforms.positions]
kind = "hyperliquid-tracking"
input = "traders"
"""


class Receiver(httpx2.AsyncBaseTransport):
    """Takes whatever is posted to /hook, and knows no account."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        if request.url.path == "/hook":
            self.bodies.append(json.loads(body))
        return httpx2.Response(200 if request.url.path == "/hook" else 404)


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ('event = "FLIP"', ["s:2", "s:3"]),
        (f'address = "{BOB}"', ["s:3"]),
        (f'event = ["FLIP", "OPEN"], address = ["{ALICE}", "{BOB}"]', ["s:1", "s:2", "s:3"]),
        ("min_notional = 1000", []),
    ],
)
async def test_a_webhook_tells_of_the_events_that_somebody_watches(
    filter: str, found: list[str], autojump_clock: Any
) -> None:
    hook = f'[sinks.hook]\nkind = "webhook"\nurl = "http://here/hook"\ninput = "positions"\nfilter = {{ {filter} }}\n'  # noqa: E501
    receiver, kinds = Receiver(), testing.registry(flowd_hyperliquid, flowd_webhook)
    async with testing.daemon(CONFIG + hook, registry=kinds, rest=receiver) as daemon:
        await trio.sleep(1)
        stream = daemon.streams["positions"]
        stream.append(evolve(event(), id="s:1", event="OPEN"), id="s:1")
        stream.append(evolve(event(), id="s:2"), id="s:2")
        stream.append(evolve(event(), id="s:3", address=BOB), id="s:3")
        await trio.sleep(5)

    told = json.dumps(receiver.bodies)
    assert [number for number in ("s:1", "s:2", "s:3") if f'"{number}"' in told] == found


@pytest.mark.parametrize("record", [PositionEvent, Trade, Standing])
def test_a_history_has_a_column_for_each_field_of_theirs(record: type) -> None:
    columns = dict(columns_of(record))

    assert columns["venue"] == "text"
    assert columns["time_ms"] == "integer"
