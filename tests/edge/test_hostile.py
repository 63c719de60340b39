"""Clients that mean harm hurt only themselves: beside each attack a normal WebSocket client, a
normal SSE client and a normal poller are served, and the memory stays within its budget.
"""

import resource
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
from attrs import define, field

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import connect, fetch, request, reset, sse, websocket
from tests.edge.process import Flowd, prices

WORST_S = 0.25
"""What a normal client's worst answer is to stay under."""
ATTACK_S = 3.5
RECORDS = 4000
BUDGET = 64 * 1024 * 1024
HELD = 0.1
"""A machine that let us wait for a processor for this part of an attack had others to serve, too:
then a second attack counts.
"""
NAP_S = 0.01


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@define
class Neighbours:
    """What the normal clients of a daemon saw.

    What is judged is how long the daemon let them wait: from each wait the time is taken for which
    the daemon, or the test itself, was ready to run and was given no processor.
    """

    daemon: Flowd
    waits: dict[str, list[float]] = field(factory=dict)
    statuses: set[int] = field(factory=set)
    memory: list[int] = field(factory=list)
    overslept_s: float = 0.0

    @contextmanager
    def wait(self, who: str) -> Iterator[None]:
        began, held = trio.current_time(), self.held_s()
        yield
        waited = trio.current_time() - began
        self.waits.setdefault(who, []).append(waited - _since(held, self.held_s()))

    def held_s(self) -> tuple[float, float]:
        """How long the daemon, and the test, were ready to run so far, and did not."""
        return _runnable_s(str(self.daemon.pid)), _runnable_s("self")

    def worst_s(self) -> dict[str, float]:
        """Of each client; the very worst may be the machine's."""
        return {who: round(sorted(waits)[-2], 3) for who, waits in self.waits.items()}


def _runnable_s(pid: str) -> float:
    with open(f"/proc/{pid}/schedstat") as found:
        return int(found.read().split()[1]) / 1e9


def _since(before: tuple[float, float], now: tuple[float, float]) -> float:
    """The longer of the two: they may have waited at the same time."""
    return max(after - then for then, after in zip(before, now, strict=True))


Effect = Callable[[dict[str, Any]], bool]


async def attacked(
    daemon: Flowd, exchange: Exchange, name: str, effect: Effect = lambda status: True
) -> dict[str, Any]:
    """Run an attack beside normal clients, until the status shows its `effect`, and judge what
    these saw; the status at its end.
    """
    before = daemon.memory()
    for attempt in range(2):
        seen = Neighbours(daemon)
        began = seen.held_s()
        status = await _attack(seen, exchange, name, effect)
        held = _since(began, seen.held_s())
        told = (
            f"{name}: at worst {seen.worst_s()} s; {(max(seen.memory) - before) // 2**20} MiB more;"
            f" {held:.2f} s without a processor, a nap {seen.overslept_s:.3f} s too long"
        )
        sys.stderr.write(told + "\n")
        slow = max(seen.worst_s().values()) >= WORST_S
        if not slow or attempt or (held < HELD * ATTACK_S and seen.overslept_s < WORST_S / 5):
            break
    assert seen.statuses == {200}, told
    assert max(seen.worst_s().values()) < WORST_S, told
    assert max(seen.memory) < before + BUDGET, told
    return status


async def _attack(
    seen: Neighbours, exchange: Exchange, name: str, effect: Effect
) -> dict[str, Any]:
    daemon = seen.daemon
    await trio.sleep(0.3)
    command = [sys.executable, "-m", "tests.edge.attacks", name, str(daemon.port)]
    process = await trio.lowlevel.open_process(command)
    try:
        async with trio.open_nursery() as nursery:
            for client in (_speak, _poll):
                nursery.start_soon(client, seen)
            nursery.start_soon(_follow, seen, exchange)
            nursery.start_soon(_nap, seen)
            await trio.sleep(ATTACK_S)
            status = await daemon.until(daemon.status, effect)
            assert process.returncode is None
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
    return status


async def _speak(seen: Neighbours) -> None:
    async with websocket(seen.daemon.port) as peer:
        while True:
            with seen.wait("websocket"):
                await peer.say({"action": "ping"})
                await peer.next("pong")
            await trio.sleep(0.03)


async def _follow(seen: Neighbours, exchange: Exchange) -> None:
    async with sse(seen.daemon.port, "/sse/orders?limit=0") as events:
        while True:
            with seen.wait("sse"):
                await events.upto(exchange.say()[-1])
            await trio.sleep(0.05)


async def _poll(seen: Neighbours) -> None:
    while True:
        with seen.wait("poll"):
            found = await fetch(seen.daemon.port, "/streams/orders?limit=20")
        seen.statuses.add(found.status)
        seen.memory.append(seen.daemon.memory())
        await trio.sleep(0.05)


async def _nap(seen: Neighbours) -> None:
    """A machine that is held itself lets a sleeper oversleep."""
    while True:
        began = trio.current_time()
        await trio.sleep(NAP_S)
        seen.overslept_s = max(seen.overslept_s, trio.current_time() - began - NAP_S)


@asynccontextmanager
async def filled(
    flowd: Start, exchange: Exchange, records: int = RECORDS, **settings: object
) -> AsyncGenerator[Flowd, None]:
    """A daemon with many records, and nothing unusual in its log at the end."""
    own = {"memory_budget": BUDGET, "save_every": "1h", "max_clients": 200, **settings}
    with flowd(source={"retain": RECORDS}, **own) as daemon:
        await daemon.start()
        last = exchange.say(records)[-1]
        await daemon.until(lambda: daemon.poll("?limit=1"), lambda found: prices(found) == [last])
        yield daemon
        assert "Traceback" not in daemon.log


def out_of_room(status: dict[str, Any]) -> bool:
    memory = status["memory"]
    return bool(memory["outgoing_refused"] + memory["outgoing_cut"] and memory["outgoing_bytes"])


async def test_answers_that_nobody_reads_take_no_more_than_their_budget(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange) as daemon:
        memory = (await attacked(daemon, exchange, "unread", out_of_room))["memory"]

    assert 0 < memory["outgoing_bytes"] <= BUDGET


async def test_heads_that_are_all_different_take_no_more_than_theirs(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange) as daemon:
        found = await attacked(
            daemon, exchange, "heads", lambda status: status["clients"]["requests"]["hot"] > 500
        )

    assert 0 < found["memory"]["heads_bytes"] <= BUDGET // 32


async def test_idle_connections_make_room(flowd: Start, exchange: Exchange) -> None:
    limits = {"max_clients": 100, "max_connections_per_address": 250}
    async with filled(flowd, exchange, 10, **limits) as daemon:
        status = await attacked(
            daemon, exchange, "idle", lambda status: status["clients"]["made_room"] > 0
        )
        clients = status["clients"]

    assert clients["connections_open"] <= 260


async def test_distinct_answers_take_turns(flowd: Start, exchange: Exchange) -> None:
    async with filled(flowd, exchange) as daemon:
        await attacked(
            daemon, exchange, "packed", lambda status: status["clients"]["requests"]["hot"] > 100
        )


async def test_frames_that_complete_no_message_end_their_connection(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange) as daemon:
        await attacked(daemon, exchange, "pieces", thrown_out)


def thrown_out(status: dict[str, Any]) -> bool:
    return bool(status["clients"]["gone"].get("more than 20 frames per second", 0) > 30)


async def test_who_begins_anew_again_and_again_waits_for_itself(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange) as daemon:
        await attacked(
            daemon, exchange, "resubscribe", lambda status: status["clients"]["behind"] > 0
        )


async def test_deep_json_is_a_mistake_like_any_other(flowd: Start, exchange: Exchange) -> None:
    async with filled(flowd, exchange) as daemon:
        await attacked(daemon, exchange, "deep", not_understood)
        exchange.send(["[" * 100_000])
        await daemon.reached(exchange.say()[-1])
        source = (await daemon.status())["components"][0]

    assert source["restarts"] == 0


def not_understood(status: dict[str, Any]) -> bool:
    return sum(status["clients"]["gone"].values()) >= 20


async def test_heads_that_may_be_read_differently_are_refused_and_answered(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange) as daemon:
        await attacked(
            daemon,
            exchange,
            "lines",
            lambda status: status["clients"]["refused"].get("bad head", 0) > 50,
        )


async def test_who_wants_no_filter_is_let_in_whatever_filters_others_use(
    flowd: Start, exchange: Exchange
) -> None:
    async with filled(flowd, exchange, 10, max_clients=2500) as daemon:
        streams = [await connect(daemon.port) for _ in range(2000)]
        try:
            for number, stream in enumerate(streams):
                await stream.send_all(request(f"/sse/orders?limit=0&symbol=S{number}"))
            await daemon.settled(lambda found: found["clients"]["channels"] == 2000)

            async with sse(daemon.port, "/sse/orders?symbol=ONE-MORE") as refused:
                assert refused.status == 503
            async with sse(daemon.port, "/sse/orders") as events:
                last = exchange.say()[-1]
                assert (await events.upto(last))[-1].ordinal == last
        finally:
            for stream in streams:
                reset(stream)
