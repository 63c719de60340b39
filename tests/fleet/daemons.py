"""All that stands between the exchange and the clients, and how each part fails and comes again."""

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import trio
from attrs import define

from tests.crash.audit import WIDTHS_MS
from tests.crash.clients import Life
from tests.crash.referee import ORDERS, VOLUME
from tests.edge.nginx import SEVERAL, Nginx, running, three
from tests.edge.process import Flowd, free_port, until
from tests.edge.redis import RedisServer

EDGES = 3
LEADS, FOLLOWS = "leads", "follows"
RETAIN = 400
"""More than come while Redis is restarted: else all edges lack the same, and nobody is shown it."""
WELL_S = 120.0
"""Everything is well so soon after whatever failed, on a machine with much else to do."""
LOOK_S = 0.1
FORGIVEN_S = 5.0
"""nginx takes an edge that was gone for dead for 2 s (`fail_timeout`), with whole seconds and one
more attempt for up to 4 s; and all of them alike.
"""
INGEST = """
[pair]
kind = "redis"
url = "{url}"

[transforms.{volume}]
kind = "liquidation-volume"
input = "{orders}"
timeframes = {timeframes}
every = "2s"

[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["*"]
"""
EDGE = """
[sources.upstream]
kind = "redis"
url = "{url}"
restart_delay = "100ms"
restart_delay_max = "1s"
"""


@define
class Fleet:
    """Two ingest daemons of which one leads, Redis, edges, and nginx in front. Each scene takes
    something away, and brings it back after a while.
    """

    random: Random
    redis: RedisServer
    ingest: Flowd
    """The one that leads."""
    standby: Flowd
    edges: list[Flowd]
    nginx: Nginx
    life: Life
    """As the clients see it: whether they may be refused."""

    @property
    def daemons(self) -> list[Flowd]:
        """All of them, in the order in which they end."""
        return [self.standby, self.ingest, *self.edges]

    async def well(self) -> None:
        """Wait until everybody says so, and one leads whom the other one follows."""
        pair = self.ingest, self.standby
        roles = await until(partial(_roles, pair), {LEADS, FOLLOWS}.issubset, WELL_S, LOOK_S)
        self.ingest, self.standby = (pair[roles.index(role)] for role in (LEADS, FOLLOWS))
        for daemon in self.daemons:
            await until(daemon.well, bool, WELL_S, LOOK_S)

    async def edge_killed(self, count: int = 1) -> None:
        """`kill -9`; the others take its clients."""
        edges = self.random.sample(self.edges, count)
        for edge in edges:
            await edge.kill()
        await self._while(2.0)
        for edge in edges:
            await edge.start(delivering=False)

    async def all_edges_killed(self) -> None:
        """Nobody is there: clients may be refused, and that is all."""
        self.life.stopping = True
        await self.edge_killed(len(self.edges))
        await trio.sleep(FORGIVEN_S)
        self.life.stopping = False

    async def edges_renewed(self) -> None:
        """One after the other ends in order and is started again, as for a new version."""
        for edge in self.edges:
            await edge.stop()
            await edge.start()
            await trio.sleep(FORGIVEN_S)

    async def edge_suspended(self) -> None:
        """It hears, and says nothing; so do its connections."""
        edge = self.random.choice(self.edges)
        edge.tell(signal.SIGSTOP)
        await self._while(4.0)
        edge.tell(signal.SIGCONT)

    async def ingest_fails_over(self) -> None:
        """`kill -9`; the other one leads, and it stands by when it is back."""
        gone, self.ingest, self.standby = self.ingest, self.standby, self.ingest
        await gone.kill()
        await until(partial(_roles, [self.ingest]), [LEADS].__eq__, WELL_S, LOOK_S)
        await self._while(3.0)
        await self._back(gone)

    async def ingest_killed(self) -> None:
        """`kill -9`, and back so soon that either may lead; the epoch goes on."""
        await self.ingest.kill()
        await self._while(3.0)
        await self._back(self.ingest)

    async def ingest_renewed(self) -> None:
        """It ends in order and is started again."""
        await self.ingest.stop()
        await self._back(self.ingest)

    async def standby_killed(self) -> None:
        """Nobody notices, and it is given what it lacks."""
        await self.standby.kill()
        await self._while(3.0)
        await self._back(self.standby)

    async def ingest_suspended(self) -> None:
        """For longer than its lease: it finds itself deposed."""
        self.ingest.tell(signal.SIGSTOP)
        await self._while(10.0)
        self.ingest.tell(signal.SIGCONT)

    async def redis_restarted(self) -> None:
        """Killed, and started with its data."""
        self.redis.kill()
        await self._while(3.0)
        await self.redis.start()

    async def redis_emptied(self) -> None:
        """Killed, and started without its data."""
        self.redis.kill()
        self.redis.forget_all()
        await self._while(3.0)
        await self.redis.start()

    async def redis_suspended(self) -> None:
        """It hears, and says nothing, for longer than it is waited for, or not so long."""
        self.redis.pause()
        await self._while(12.0)
        self.redis.wake()

    async def redis_and_ingest_killed(self) -> None:
        """Both at the same time, as where they share a machine."""
        self.redis.kill()
        await self.ingest.kill()
        await self._while(2.0)
        self.ingest.spawn()
        await self.redis.start()

    async def redis_and_edge_killed(self) -> None:
        """The edge comes back first, and has to wait."""
        edge = self.random.choice(self.edges)
        self.redis.kill()
        await edge.kill()
        edge.spawn()
        await self._while(4.0)
        await self.redis.start()

    async def nginx_reloaded(self) -> None:
        """Its old workers stay until their clients have left."""
        await self.nginx.reload()

    async def _back(self, daemon: Flowd) -> None:
        """It stands by at least, whoever leads."""
        await daemon.start(words="stands by on", delivering=False)

    async def _while(self, most_s: float) -> None:
        await trio.sleep(self.random.uniform(0.0, most_s))


Scene = Callable[[Fleet], Awaitable[None]]
SCENES: dict[str, tuple[Scene, int]] = {
    "edge killed": (Fleet.edge_killed, 30),
    "two edges killed": (partial(Fleet.edge_killed, count=2), 10),
    "all edges killed": (Fleet.all_edges_killed, 5),
    "edges renewed": (Fleet.edges_renewed, 5),
    "edge suspended": (Fleet.edge_suspended, 5),
    "ingest fails over": (Fleet.ingest_fails_over, 10),
    "ingest killed": (Fleet.ingest_killed, 10),
    "ingest renewed": (Fleet.ingest_renewed, 5),
    "ingest suspended": (Fleet.ingest_suspended, 5),
    "standby killed": (Fleet.standby_killed, 5),
    "redis restarted": (Fleet.redis_restarted, 10),
    "redis emptied": (Fleet.redis_emptied, 5),
    "redis suspended": (Fleet.redis_suspended, 5),
    "redis and ingest killed": (Fleet.redis_and_ingest_killed, 5),
    "redis and edge killed": (Fleet.redis_and_edge_killed, 5),
    "nginx reloaded": (Fleet.nginx_reloaded, 5),
}
"""By name: what happens, and how often among all of them."""


@asynccontextmanager
async def fleet(folder: Path, exchange_port: int, random: Random) -> AsyncIterator[Fleet]:
    """All of it, in this folder, until the block ends; all is well at first."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis"))
        await redis.start()
        text = INGEST.format(
            orders=ORDERS, volume=VOLUME, timeframes=json.dumps(list(WIDTHS_MS)), url=redis.url
        )
        pair: list[Flowd] = []
        for name in ("ingest", "standby"):
            ingest = Flowd(
                folder / name,
                f"ws://127.0.0.1:{exchange_port}/market",
                settings={"listen": f"127.0.0.1:{free_port()}"},
                source={"symbols": ["*"], "retain": RETAIN},
                extra=text,
                env={"LIQUIDATION_API_BASE_URL": ""},
            )
            stack.enter_context(ingest)
            pair.append(await ingest.start(words="stands by on", delivering=False))
        edges: list[Flowd] = []
        for number in range(1, EDGES + 1):
            settings = {
                "listen": f"127.0.0.1:{free_port()}",
                "trusted_proxies": ["127.0.0.1"],
                "max_clients": 2000,
            }
            text = EDGE.format(url=redis.url)
            edge = Flowd(folder / f"edge-{number}", None, settings=settings, extra=text)
            edges.append(await stack.enter_context(edge).start())
        ports = three([edge.port for edge in edges])
        nginx = await stack.enter_async_context(
            running(SEVERAL, ports, folder / "nginx", "backlog=1024")
        )
        found = Fleet(random, redis, *pair, edges, nginx, Life(nginx.port))
        await found.well()
        yield found


async def _roles(pair: Sequence[Flowd]) -> list[str]:
    """What each of them is, as far as it knows: empty when it is neither yet."""
    return [await _role(daemon) for daemon in pair]


async def _role(daemon: Flowd) -> str:
    pair = await daemon.pair()
    if pair.get("role") == "leader":
        return LEADS
    return FOLLOWS if pair.get("behind") is not None else ""
