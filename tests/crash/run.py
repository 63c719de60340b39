"""One run: an exchange, a daemon that is killed again and again, clients, and the verdict."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import trio
from attrs import Factory, define, evolve

from tests.crash.audit import WIDTHS_MS, Audit
from tests.crash.clients import Client, Life
from tests.crash.referee import ORDERS, OUTAGES, STREAMS, VOLUME, Referee
from tests.crash.told import Told, told
from tests.edge.process import START_S, STOP_S, Flowd, until

ROOT = Path(__file__).parents[2]
CLIENTS = 6
RETAIN = 6000
LEAVE_S = 20.0
"""For clients to notice that the daemon is gone."""
SETTLE_S = 60.0
LAST_S = 4.0
"""How long the last life is under load."""
KILL, EARLY, TORN, STOP = "kill -9", "kill -9 at start", "kill -9 in a stop", "stop"
ENDS = {KILL: 55, EARLY: 15, TORN: 15, STOP: 15}
"""How lives end, out of a hundred."""
EXTRA = """
[transforms.volume]
kind = "liquidation-volume"
input = "{orders}"
timeframes = {timeframes}
every = "200ms"

[sinks.history]
kind = "history"
inputs = ["{orders}", "{outages}"]
path = "{path}"
retain = "forever"
max_size = "100GiB"
"""


class Stuck(Exception):
    """The run cannot go on."""


@define
class Ended:
    """One life, for who wants to know what went on when something was lost."""

    number: int
    how: str
    spawned_ms: int
    serving_ms: int = 0
    told_ms: int = 0
    gone_ms: int = 0
    code: int = 0


@define
class Verdict:
    """What a run came to."""

    cycles: int
    ends: dict[str, int] = Factory(dict)
    orders: int = 0
    unseen: int = 0
    heard: int = 0
    resets: int = 0
    gaps: int = 0
    broken: dict[str, int] = Factory(dict)
    notes: list[str] = Factory(list)
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether all promises were kept."""
        return not self.broken


class Run:
    """Lives of one daemon on one state, and all who watch."""

    def __init__(
        self, folder: Path, *, cycles: int, seed: int, expect_resets: int, delay_ms: int
    ) -> None:
        self._folder = folder
        self.cycles = cycles
        """May be lessened while it runs."""
        self._done = 0
        self._seed = seed
        self._delay_ms = delay_ms
        self._random = Random(f"{seed} lives")
        self._referee = Referee(expect_resets)
        self._lives: list[Ended] = []
        self._clients = [
            Client(f"client {number}", self._referee, Random(f"{seed} client {number}"))
            for number in range(1, CLIENTS + 1)
        ]

    async def run(self) -> Verdict:
        """All lives, a last one that ends in order, and the audit. Raises nothing for what flowd
        does.
        """
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        verdict = Verdict(self.cycles)
        delay = ("--delay-ms", str(self._delay_ms))
        with trading(self._folder / "ledger", self._seed, *delay) as exchange:
            port = await answer(exchange)
            with self._daemon(port) as daemon:
                try:
                    while self._done < self.cycles:
                        await self._life(daemon, self._done + 1, self._drawn())
                        self._done += 1
                        self._progress()
                    audit = await self._last_life(daemon, exchange)
                    audit.outages(self._scene)
                    verdict.orders, verdict.unseen = audit.sent, audit.unseen
                except* (Stuck, trio.TooSlowError, AssertionError) as group:
                    self._referee.broken("other", f"{unwrapped(group)!r}; {_tail(daemon)}")
        referee = self._referee
        ends = {how: sum(one.how == how for one in self._lives) for how in ENDS}
        return evolve(
            verdict,
            cycles=self._done,
            ends=ends,
            heard=referee.heard,
            resets=referee.resets,
            gaps=referee.gaps,
            broken=dict(referee.counts),
            notes=referee.notes,
            took_s=time.monotonic() - began,
        )

    def _daemon(self, port: int) -> Flowd:
        extra = EXTRA.format(
            orders=ORDERS,
            outages=OUTAGES,
            timeframes=json.dumps(list(WIDTHS_MS)),
            path=self._folder / "history.db",
        )
        return Flowd(
            self._folder,
            f"ws://127.0.0.1:{port}/market",
            settings={"save_every": "1s"},
            source={
                **{"symbols": ["*"], "retain": RETAIN},
                **{"renew_every": "2s", "renew_overlap": "200ms"},
            },
            extra=extra,
            env={"LIQUIDATION_API_BASE_URL": ""},
        )

    def _progress(self) -> None:
        if self._done % 10 == 0:
            referee, of = self._referee, self.cycles
            sys.stderr.write(
                f"{self._done} of {of} cycles, {referee.heard} records told, "
                f"{sum(referee.counts.values())} promises broken\n"
            )

    def _drawn(self) -> str:
        return self._random.choices(list(ENDS), weights=list(ENDS.values()))[0]

    # -- a life --

    async def _life(self, daemon: Flowd, number: int, how: str) -> None:
        """Start, let clients read, and end it."""
        random, referee = self._random, self._referee
        ended = self._begin(daemon, number, how)
        if how == EARLY and random.random() < 0.5:
            await trio.sleep(random.uniform(0.0, 1.0))
            daemon.tell(signal.SIGKILL)
            await self._gone(daemon, ended)
        else:
            life = Life(await self._serving(daemon, ended))
            async with trio.open_nursery() as nursery:
                for client in self._clients:
                    nursery.start_soon(client.live, life)
                last_s = random.uniform(0.0, 0.2) if how == EARLY else _lasts_s(random)
                await trio.sleep(last_s)
                await self._end(daemon, ended, life)
                nursery.cancel_scope.deadline = trio.current_time() + LEAVE_S
            if nursery.cancel_scope.cancelled_caught:
                raise Stuck("clients did not notice that the daemon is gone")
        referee.ended(clean=ended.code == 0)
        self._look_into(daemon, ended)

    def _begin(self, daemon: Flowd, number: int, how: str) -> Ended:
        self._referee.begins(number)
        daemon.log_file = self._folder / f"log-{number}"
        daemon.spawn(cwd=ROOT)
        self._lives.append(Ended(number, how, now_ms()))
        return self._lives[-1]

    async def _serving(self, daemon: Flowd, ended: Ended) -> int:
        """Wait until it listens; its port."""
        with trio.fail_after(START_S):
            while (port := _port(daemon.log)) is None:
                if daemon.process is None or daemon.process.poll() is not None:
                    raise Stuck(f"it ended by itself: {self._scene(now_ms())}")
                await trio.sleep(0.01)
        ended.serving_ms = now_ms()
        daemon.port = port
        return port

    async def _end(self, daemon: Flowd, ended: Ended, life: Life) -> None:
        """End it as was drawn, and tell the clients when it is gone."""
        stop = ended.how in (STOP, TORN)
        life.stopping = stop
        ended.told_ms = now_ms()
        daemon.tell(signal.SIGTERM if stop else signal.SIGKILL)
        if ended.how == TORN:
            await trio.sleep(self._random.random())
            daemon.tell(signal.SIGKILL)
        await self._gone(daemon, ended)
        life.over.set()

    async def _gone(self, daemon: Flowd, ended: Ended) -> None:
        process = daemon.process
        assert process is not None
        try:
            await daemon.ended(STOP_S)
        except AssertionError:
            self._referee.broken("other", f"it did not end within {STOP_S:g}s: {ended}")
            process.kill()
            process.wait(STOP_S)
        ended.gone_ms, ended.code = now_ms(), process.returncode
        allowed = {KILL: {-9}, EARLY: {-9}, TORN: {-9, 0}, STOP: {0}}[ended.how]
        if ended.code not in allowed:
            self._referee.broken("other", f"it ended with {ended.code}: {ended}")

    def _look_into(self, daemon: Flowd, ended: Ended) -> None:
        """What a life wrote about itself."""
        log = daemon.log
        if "Traceback" in log:
            self._referee.broken("other", f"a traceback in {daemon.log_file.name}: {ended}")
        elif ended.code == 0 and "state saved" not in log:
            self._referee.broken("other", f"stopped, and the state is not saved: {ended}")
        else:
            daemon.log_file.unlink()

    # -- the end --

    async def _last_life(self, daemon: Flowd, exchange: subprocess.Popen[str]) -> Audit:
        """A life in which the exchange falls silent, everybody gets level, and all is compared."""
        ended = self._begin(daemon, self._done + 1, STOP)
        port = await self._serving(daemon, ended)
        life = Life(port)
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(client.live, life)
            await trio.sleep(LAST_S)
            last = await answer(exchange, "last")

            async def done() -> bool:
                return self._referee.recorded[last] > 0 and await level(daemon)

            await until(done, bool, SETTLE_S)
            nursery.cancel_scope.cancel()
        with trio.fail_after(SETTLE_S):
            for client in self._clients:
                await client.settle(port)
            polled = {stream: await whole(daemon, stream) for stream in STREAMS}
        for client in self._clients:
            client.compare(polled)
        await self._end(daemon, ended, life)
        self._referee.ended(clean=ended.code == 0)
        self._look_into(daemon, ended)
        head = int(polled[ORDERS]["position"].rpartition(".")[2])
        audit = Audit(self._referee, self._folder / "ledger", head)
        audit.history(self._folder / "history.db")
        audit.stream()
        audit.gaps(RETAIN)
        audit.buckets([record.found for record in polled[VOLUME].records])
        return audit

    def _scene(self, time_ms: int) -> str:
        """The lives around a time."""
        near = [
            one
            for one in self._lives
            if one.spawned_ms - 3000 <= time_ms
            and (not one.gone_ms or time_ms <= one.gone_ms + 3000)
        ]
        return f"lives: {near}"


async def whole(daemon: Flowd, stream: str) -> Told:
    """All that a daemon has of a stream."""
    return told((await daemon.get(f"/streams/{stream}")).body.decode())


async def level(daemon: Flowd) -> bool:
    """Whether the transform has read all."""
    components = (await daemon.status())["components"]
    return not any(one["behind"] for one in components if one["name"] == VOLUME)


def unwrapped(error: BaseException) -> BaseException:
    """What went wrong, without the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tail(daemon: Flowd) -> str:
    return daemon.log[-2000:] if daemon.log_file.exists() else ""


def _lasts_s(random: Random) -> float:
    """Mostly short, for that gives more ends in an hour."""
    return 0.2 + 2.8 * random.random() ** 2


def _port(log: str) -> int | None:
    _, found, rest = log.partition("serves on http://")
    address, slash, _ = rest.partition("/")
    return int(address.rpartition(":")[2]) if found and slash else None


def now_ms() -> int:
    """The time of this machine's clock, by which the exchange stamps too."""
    return time.time_ns() // 1_000_000


@contextmanager
def trading(ledger: Path, seed: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The exchange in its process; `answer` is its port, at first."""
    line = [sys.executable, "-m", "tests.crash.exchange", "--ledger", str(ledger)]
    with subprocess.Popen(
        [*line, "--seed", f"{seed} exchange", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def answer(exchange: subprocess.Popen[str], ask: str = "") -> int:
    """Ask the exchange; the number that it prints."""
    assert exchange.stdin is not None
    assert exchange.stdout is not None
    if ask:
        exchange.stdin.write(f"{ask}\n")
        exchange.stdin.flush()
    with trio.fail_after(SETTLE_S):
        line = await trio.to_thread.run_sync(exchange.stdout.readline, abandon_on_cancel=True)
    if not line:
        raise Stuck("the exchange ended")
    return int(line)
