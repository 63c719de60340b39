"""Passing messages on to many clients: what one delivery costs the server, and whether it keeps up.

The cost is the server's CPU time from the first message until every client has the last one,
divided by the records that arrived. So whoever sends several records in one message is paid for it,
and whoever falls behind is still paid for what it delivered, but marked.
"""

import statistics
import sys
from typing import Any

from attrs import frozen

from . import wire
from .contenders import FLOWD, Bench, Contender
from .machine import core_busy_s
from .process import BenchError, Helper, Server

WARM_RECORDS = 50
LAG_MAX_S = 0.25
TOKENS = {"websocket": wire.RECORD_TOKEN, "sse": wire.EVENT_TOKEN, "deflate": ""}
COST_MAX_S = 80e-6


@frozen
class Scene:
    """One kind of load: how many clients, and how many records come how fast."""

    shape: str
    clients: int
    rate: float
    count: int
    lengths: dict[str, int]

    @property
    def token(self) -> str:
        """Bytes that every record has exactly once on this wire."""
        return TOKENS[self.shape]

    @property
    def seconds(self) -> float:
        return self.count / self.rate


@frozen
class Delivery:
    """What one run came to."""

    cost_us: float
    user_us: float
    arrived: float
    pace: float
    lag_s: float
    reads: int
    records: int
    foreign: float

    @property
    def kept_up(self) -> bool:
        return self.arrived == 1.0 and self.lag_s <= LAG_MAX_S

    @property
    def share(self) -> float:
        """What was achieved of the commanded load: records that arrived, in the time it took."""
        return min(1.0, self.arrived * self.pace)


def run(bench: Bench, contender: Contender, scene: Scene) -> Delivery:
    """One run: start the server, connect the clients, warm up, measure, check what arrived."""
    with (
        contender.start(bench, scene.shape) as server,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        connect(load, server, contender, scene)
        emit(bench, load, contender, scene, WARM_RECORDS, 100.0)
        load.ask(do="verify")
        busy, before = core_busy_s(bench.cores.server), server.cpu()
        started, result = emit(bench, load, contender, scene, scene.count, scene.rate)
        spent = server.cpu().since(before)
        busy = core_busy_s(bench.cores.server) - busy
        server.check()
        records = arrived_in(load, scene, result, contender.name)
        took = result["last"] - started
        return Delivery(
            cost_us=spent.total_s / records * 1e6,
            user_us=spent.user_s / records * 1e6,
            arrived=min(1.0, records / (scene.clients * scene.count)),
            pace=min(1.0, scene.seconds / took),
            lag_s=took - scene.seconds,
            reads=result["reads"],
            records=records,
            foreign=max(0.0, busy - spent.total_s) / max(took, 0.1),
        )


def connect(
    load: Helper, server: Server, contender: Contender, scene: Scene, clients: int = 0
) -> None:
    load.ask(
        do="connect",
        port=server.port,
        head=contender.head(scene.shape, server.port),
        count=clients or scene.clients,
        token=scene.token,
        shape=scene.shape,
    )
    # A client's answer may leave before the server counts it as a reader.
    load.ask(do="drain", quiet_s=0.3)


def emit(
    bench: Bench, load: Helper, contender: Contender, scene: Scene, count: int, rate: float
) -> tuple[float, dict[str, Any]]:
    """Send records and receive them; returns when the first was due, and what arrived."""
    timeout_s = count / rate + scene.clients * count * COST_MAX_S + 10.0
    if scene.token:
        load.tell(do="collect", count=count, timeout_s=timeout_s)
    else:
        # Nobody can tell from compressed bytes which record was the last: wait for silence.
        load.tell(do="collect", count=sys.maxsize, timeout_s=timeout_s, quiet_s=1.5)
    bench.feeder.ask(
        do="emit",
        to=contender.feed,
        count=count,
        rate=rate,
        shape=scene.shape,
        length=scene.lengths.get("sse" if scene.shape == "sse" else "websocket", 300),
    )
    started = bench.feeder.answer()["started"]
    return started, load.answer()


def arrived_in(load: Helper, scene: Scene, result: dict[str, Any], name: str) -> int:
    """How many records all clients got; the sampled clients' bytes must decode to the same."""
    samples = load.ask(do="verify")["sampled"]
    if not result["records"] or not samples:
        raise BenchError(f"{name}: no record reached any client")
    for sample in samples:
        if not sample["in_order"]:
            raise BenchError(f"{name}: a client got records out of order")
    decoded = samples[0]["records"]
    if any(sample["records"] != decoded for sample in samples):
        raise BenchError(f"{name}: the sampled clients got {samples}")
    if scene.token:
        if result["complete"] and decoded != scene.count:
            raise BenchError(f"{name}: a client decoded {decoded} of {scene.count} records")
        return int(result["records"])
    if result["fewest"] != result["most"]:
        raise BenchError(f"{name}: {result['fewest']} to {result['most']} bytes per client")
    return int(decoded * result["clients"])


def measure_lengths(bench: Bench, contender: Contender) -> dict[str, int]:
    """How long flowd's own messages are, so that the peers send as many bytes."""
    assert contender.name == FLOWD
    lengths = {}
    for shape in ("websocket", "sse"):
        scene = Scene(shape, 1, 20.0, 20, {})
        with (
            contender.start(bench, shape) as server,
            Helper.start("bench.load", bench.cores.others) as (load, _ready),
        ):
            connect(load, server, contender, scene)
            load.ask(do="sample")
            emit(bench, load, contender, scene, scene.count, scene.rate)
            texts = [
                line.removeprefix("data:").strip()
                for line in load.ask(do="sample")["text"].splitlines()
            ]
            alone = [len(text.encode()) for text in texts if text.count('"seq":') == 1]
            if not alone:
                raise BenchError(f"flowd sent no message with one record over {shape}")
            lengths[shape] = round(statistics.mean(alone))
    return lengths
