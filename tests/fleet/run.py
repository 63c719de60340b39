"""One run: clients behind nginx, what fails meanwhile, and the verdict."""

import resource
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from random import Random

import trio
from attrs import Factory, define

from tests.crash.audit import Audit
from tests.crash.clients import Client, Habits
from tests.crash.referee import ORDERS, STREAMS, VOLUME, Referee
from tests.crash.run import Stuck, answer, level, now_ms, trading, unwrapped, whole
from tests.crash.told import Told
from tests.edge.process import until
from tests.fleet.daemons import FORGIVEN_S, LOOK_S, RETAIN, SCENES, Fleet, fleet

CLIENTS = 500
PACE = 0.01
"""Of the exchange of the crash test: up to fifteen orders a second, and bursts of five to forty.
Each of them goes to each client.
"""
CALM_S = (FORGIVEN_S, FORGIVEN_S + 1.5)
"""Between what fails: else nginx may take all edges for dead, though each was gone alone."""
PATIENCE_S = 240.0
"""For all clients, on a machine with much else to do."""
SETTLING = 20
"""So many clients settle at once."""


@define
class Verdict:
    """What a run came to."""

    scenes: Counter[str] = Factory(Counter)
    orders: int = 0
    unseen: int = 0
    heard: int = 0
    visits: Counter[str] = Factory(Counter)
    gaps: int = 0
    resets: int = 0
    broken: Counter[str] = Factory(Counter)
    notes: list[str] = Factory(list)
    took_s: float = 0.0
    processor_s: float = 0.0
    """Of all processes together."""

    @property
    def good(self) -> bool:
        """Whether all promises were kept."""
        return not self.broken

    def __str__(self) -> str:
        lines = [
            f"scenes         {_listed(self.scenes)}",
            f"orders         {self.orders} sent, of which {self.unseen} reached nobody",
            f"records told   {self.heard}",
            f"visits         {_listed(self.visits)}",
            f"gaps told      {self.gaps}",
            f"resets told    {self.resets}",
            f"broken         {_listed(self.broken) or 'nothing'}",
            f"duration       {self.took_s:.1f} s, of processors {self.processor_s:.1f} s",
        ]
        return "\n".join([*lines, *self.notes])


@define
class Happened:
    """A scene, for who wants to know what went on when something was lost."""

    name: str
    began_ms: int
    ended_ms: int = 0


class Run:
    """`scenes` one after the other, for as long as there are any; see `drawn`."""

    def __init__(
        self, folder: Path, *, seed: int, clients: int = CLIENTS, pace: float = PACE
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._pace = pace
        self._random = Random(f"{seed} fleet")
        self._referee = Referee(expect_resets=0)
        self._happened: list[Happened] = []
        self._clients = [self._client(number) for number in range(1, clients + 1)]
        self.enough = False
        """Set it, and the scene that is under way is the last one."""

    def _client(self, number: int) -> Client:
        habits = Habits(
            stay_s=(2.0, 20.0),
            away_s=(0.0, 1.0),
            long_away_s=(5.0, 15.0),
            long_away=0.05,
            rest_s=(0.2, 3.0),
            squeezed=0.1,
            # nginx lets an address have so many, and no more.
            source=f"127.0.{1 + number // 200}.{1 + number % 200}",
        )
        random = Random(f"{self._seed} client {number}")
        return Client(f"client {number}", self._referee, random, habits)

    async def run(self, scenes: Iterable[str]) -> Verdict:
        """All scenes, a quiet end, and the audit. Raises nothing for what flowd does."""
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        verdict, ledger = Verdict(), self._folder / "ledger"
        self._referee.begins(1)
        with trading(ledger, self._seed, "--held", "--pace", str(self._pace)) as exchange:
            try:
                async with fleet(self._folder, await answer(exchange), self._random) as found:
                    polled = await self._live(found, exchange, scenes)
                    for daemon in found.daemons:
                        await daemon.stop()
                self._read_logs(found)
                head = int(polled[ORDERS]["position"].rpartition(".")[2])
                audit = Audit(self._referee, ledger, head)
                audit.in_gaps()
                audit.stream()
                audit.gaps(RETAIN)
                audit.buckets([record.found for record in polled[VOLUME].records])
                audit.outages(self._scene)
                verdict.orders, verdict.unseen = audit.sent, audit.unseen
            except* (Stuck, trio.TooSlowError, AssertionError) as group:
                self._referee.broken("other", f"{unwrapped(group)!r}; {self._happened[-1:]}")
        referee = self._referee
        verdict.scenes = Counter(one.name for one in self._happened)
        verdict.visits = sum((client.visits for client in self._clients), Counter())
        verdict.heard, verdict.gaps, verdict.resets = referee.heard, referee.gaps, referee.resets
        verdict.broken, verdict.notes = referee.counts, referee.notes
        verdict.took_s, verdict.processor_s = time.monotonic() - began, _processor_s()
        return verdict

    async def _live(
        self, found: Fleet, exchange: subprocess.Popen[str], scenes: Iterable[str]
    ) -> dict[str, Told]:
        """What the streams are in the end, which all daemons and all clients agree on."""
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(client.live, found.life)
            # What falls off before anybody is there, nobody is shown.
            await until(self._half_there, bool, PATIENCE_S, LOOK_S)
            await answer(exchange, "begin")
            for name in scenes:
                if self.enough:
                    break
                await trio.sleep(self._random.uniform(*CALM_S))
                self._happened.append(happens := Happened(name, now_ms()))
                await SCENES[name][0](found)
                await found.well()
                happens.ended_ms = now_ms()
            last = await answer(exchange, "last")

            async def done() -> bool:
                return self._referee.recorded[last] > 0 and await level(found.ingest)

            await until(done, bool, PATIENCE_S, LOOK_S)
            nursery.cancel_scope.cancel()
        polled = await self._alike(found)
        with trio.fail_after(PATIENCE_S):
            await self._settle(found.nginx.port)
        for client in self._clients:
            client.compare(polled)
        return polled

    async def _half_there(self) -> bool:
        await trio.lowlevel.checkpoint()
        there = [one for one in self._clients if all(view.after for view in one.views.values())]
        return len(there) > len(self._clients) / 2

    async def _alike(self, found: Fleet) -> dict[str, Told]:
        """Wait until each stream is the same on all daemons, byte by byte."""
        polled = {stream: await whole(found.ingest, stream) for stream in STREAMS}
        for stream, wanted in polled.items():
            for edge in found.edges:
                await until(
                    partial(whole, edge, stream), partial(_same, wanted), PATIENCE_S, LOOK_S
                )
        return polled

    async def _settle(self, port: int) -> None:
        limit = trio.CapacityLimiter(SETTLING)

        async def settle(client: Client) -> None:
            async with limit:
                await client.settle(port)

        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(settle, client)

    def _read_logs(self, found: Fleet) -> None:
        for daemon in found.daemons:
            if "Traceback" in daemon.log:
                self._referee.broken("other", f"a traceback in {daemon.log_file}")

    def _scene(self, time_ms: int) -> str:
        """What failed around a time."""
        near = [
            one
            for one in self._happened
            if one.began_ms - 3000 <= time_ms
            and (not one.ended_ms or time_ms <= one.ended_ms + 3000)
        ]
        return f"scenes: {near}"


def _processor_s() -> float:
    """What we and those of our children who have ended took."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, kinds))


def _same(one: Told, other: Told) -> bool:
    return one == other


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
