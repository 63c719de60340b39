"""A process that is stopped for real, while its exchange goes on and gives it up."""

import json
import signal
import time

import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange, order
from tests.edge.process import Flowd

STOPPED_S = 6.0
PATIENCE_S = 2.0
"""After so long the exchange gives up who takes nothing."""


class Ledger:
    """What the exchange sent and when."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.sent: dict[int, int] = {}

    async def run(self) -> None:
        """An order every fifty milliseconds, told with its time."""
        while True:
            ordinal, time_ms = len(self.sent) + 1, time.time_ns() // 1_000_000
            self.sent[ordinal] = time_ms
            frame = order(ordinal)
            frame["data"] |= {"E": time_ms, "o": frame["data"]["o"] | {"T": time_ms}}
            self.exchange.send([json.dumps(frame)])
            await trio.sleep(0.05)

    async def lost(self, daemon: Flowd) -> list[int]:
        """When those were sent that nobody got."""
        got = {int(record["value"]["price"]) for record in (await daemon.poll())["records"]}
        return [time_ms for ordinal, time_ms in self.sent.items() if ordinal not in got]


async def test_a_process_that_was_stopped_tells_all_that_it_lost(
    flowd: Start, exchange: Exchange
) -> None:
    ledger = Ledger(exchange)
    with flowd() as daemon:
        await daemon.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            await daemon.until(daemon.poll, lambda found: len(found["records"]) > 20)

            daemon.tell(signal.SIGSTOP)
            await trio.sleep(PATIENCE_S)
            exchange.cut()
            await trio.sleep(STOPPED_S - PATIENCE_S)
            daemon.tell(signal.SIGCONT)
            count = len(ledger.sent)
            await daemon.reached(count + 20)
            nursery.cancel_scope.cancel()

        lost = await ledger.lost(daemon)
        told = [
            record["value"]
            for record in (await daemon.poll(stream="outages"))["records"]
            if record["value"]["to_ms"] is not None
        ]
        # Those of before the start and of after the end are not what this is about.
        lost = [time_ms for time_ms in lost if ledger.sent[1] < time_ms < ledger.sent[count]]
        unannounced = [
            time_ms
            for time_ms in lost
            if not any(one["from_ms"] <= time_ms <= one["to_ms"] for one in told)
        ]
        assert len(lost) > 50
        assert unannounced == []
        assert any(one["reason"].startswith("suspended for ") for one in told)
