"""Two ingest daemons, a real Redis and an edge: one of the two leads, and whatever happens to it,
the edge and its clients notice nothing but a pause.
"""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.exchange import Exchange
from tests.edge.process import Flowd
from tests.edge.redis import RedisServer

INGEST = """
[pair]
kind = "redis"
url = "{url}"

[transforms.volume]
kind = "liquidation-volume"
input = "orders"

[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["orders", "volume", "outages"]
"""

EDGE = """
[sources.upstream]
kind = "redis"
url = "{url}"
restart_delay = "100ms"
restart_delay_max = "200ms"
"""

TAKEOVER_S = 5.0
"""What is promised of a crash."""


class Pair:
    """Both daemons, what is between, and an edge."""

    def __init__(
        self, exchange: Exchange, redis: RedisServer, daemons: tuple[Flowd, Flowd], edge: Flowd
    ) -> None:
        self.exchange = exchange
        self.redis = redis
        self.leader, self.standby = daemons
        self.edge = edge
        self.said = 0

    def swap(self) -> None:
        """The other one leads."""
        self.leader, self.standby = self.standby, self.leader

    async def say(self, number: int) -> None:
        """So many orders come, and are at the edge."""
        self.said = self.exchange.say(number)[-1]
        await self.edge.reached(self.said)

    async def follows(self) -> None:
        """The standby knows what the leader does."""
        await self.standby.paired(
            lambda pair: (
                pair.get("role") == "standby" and pair["behind"] is not None and pair["behind"] < 10
            )
        )

    async def leads(self, daemon: Flowd) -> float:
        """Wait until a daemon leads; how long that took."""
        began = trio.current_time()
        await daemon.paired(lambda pair: pair.get("role") == "leader")
        return trio.current_time() - began

    async def whole(self) -> None:
        """The edge has every order once, in one epoch, and what is derived is the same."""
        found = await self.edge.poll("?limit=5000")
        numbers = [record["seq"] for record in found["records"]]
        assert numbers == list(range(1, len(numbers) + 1))
        prices = [int(record["value"]["price"]) for record in found["records"]]
        assert sorted(set(prices)) == sorted(prices), "an order comes twice"
        epochs = {
            stream: (await self.edge.poll(stream=stream))["position"].partition(".")[0]
            for stream in ("orders", "volume")
        }
        log = self.edge.log
        assert "starts over" not in log, epochs
        for stream in ("orders", "volume"):

            async def both(stream: str = stream) -> list[bytes]:
                asked = [
                    await daemon.get(f"/streams/{stream}") for daemon in (self.leader, self.edge)
                ]
                return [one.body for one in asked]

            await self.edge.until(both, lambda bodies: bodies[0] == bodies[1])


@asynccontextmanager
async def pair(exchange: Exchange, folder: Path, *options: str) -> AsyncIterator[Pair]:
    """They run, one stands by, and no log has a traceback at the end."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis", *options))
        await redis.start()
        extra = INGEST.format(url=redis.url)
        both = [
            stack.enter_context(Flowd(folder / name, exchange.url, extra=extra)) for name in "ab"
        ]
        edge = stack.enter_context(Flowd(folder / "edge", None, extra=EDGE.format(url=redis.url)))
        async with trio.open_nursery() as nursery:
            for daemon in both:
                # Both stand by at first; which one leads is theirs to find out.
                start = partial(daemon.start, words="stands by on", delivering=False)
                nursery.start_soon(start)
            nursery.start_soon(edge.start)
        roles = [(await daemon.status())["pair"]["role"] for daemon in both]
        assert sorted(roles) == ["leader", "standby"]
        leader = roles.index("leader")
        found = Pair(exchange, redis, (both[leader], both[1 - leader]), edge)
        await found.follows()
        yield found
        for daemon in (*both, edge):
            if daemon.process is not None and daemon.process.poll() is None:
                await daemon.stop()
            assert "Traceback" not in daemon.log


async def test_a_leader_that_is_killed_has_a_successor_in_the_same_epoch(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with pair(exchange, tmp_path) as both:
        await both.say(50)
        before = await both.edge.poll()
        await both.leader.kill()
        took_s = await both.leads(both.standby)
        sys.stdout.write(f"taken over {took_s:.2f}s after kill -9\n")
        assert took_s < TAKEOVER_S
        both.swap()
        await both.leader.settled(lambda found: found["healthy"])
        await both.say(50)
        await both.whole()
        found = await both.edge.poll(f"?after={before['position']}")
        assert (found["reset"], found["gap"]) == (False, None)
        assert len(found["records"]) == 50

        await both.standby.start(words="stands by on", delivering=False)
        await both.follows()
        await both.leader.kill()
        await both.leads(both.standby)
        both.swap()
        await both.leader.settled(lambda found: found["healthy"])
        await both.say(20)
        await both.whole()


async def test_who_stands_by_serves_nobody_and_says_who_leads(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with pair(exchange, tmp_path) as both:
        refused = await both.standby.get("/streams/orders")
        health = await both.standby.until(
            lambda: both.standby.get("/health"), lambda answer: answer.status == 200
        )
        status = await both.standby.status()
        metrics = await both.standby.get("/metrics")
        there = await both.leader.settled(lambda found: found["pair"]["standby_behind_s"] == 0)
        led = await both.leader.get("/metrics")

    assert refused.status == 503
    assert refused.json["error"]["code"] == "STANDBY"
    assert health.json["status"] == "ok"
    assert str(both.leader.port) in status["pair"]["leader"]
    assert str(both.standby.port) in there["pair"]["standby"]
    assert metrics.status == led.status == 200
    assert set(metrics.body.splitlines()) >= {
        b"flowd_pair_leading 0.0",
        b"flowd_pair_takeovers_total 0.0",
        b'flowd_pair_source_delivering{component="orders"} 1.0',
    }
    assert set(led.body.splitlines()) >= {
        b"flowd_pair_leading 1.0",
        b"flowd_pair_standby 1.0",
        b"flowd_pair_takeovers_total 1.0",
    }


async def test_an_orderly_stop_hands_over_at_once(exchange: Exchange, tmp_path: Path) -> None:
    async with pair(exchange, tmp_path) as both:
        await both.say(20)
        await both.leader.stop()
        took_s = await both.leads(both.standby)
        sys.stdout.write(f"taken over {took_s:.2f}s after an orderly stop\n")
        both.swap()
        await both.leader.settled(lambda found: found["healthy"])
        await both.say(20)
        await both.whole()


async def test_a_leader_that_was_suspended_finds_itself_deposed_and_publishes_nothing(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with pair(exchange, tmp_path) as both:
        await both.say(20)
        both.leader.tell(signal.SIGSTOP)
        took_s = await both.leads(both.standby)
        sys.stdout.write(f"taken over {took_s:.2f}s after SIGSTOP\n")
        both.swap()
        await both.leader.settled(lambda found: found["healthy"])
        await both.say(20)
        fence = both.redis.answers("HGET", "flowd:{orders}", "fence")
        both.standby.tell(signal.SIGCONT)
        await both.follows()
        assert "deposed" in both.standby.log
        for daemon in (both.leader, both.standby):
            assert (await daemon.pair())["takeovers"] == 1
        assert both.redis.answers("HGET", "flowd:{orders}", "fence") == fence
        await both.say(20)
        await both.whole()


@pytest.mark.parametrize("data", [True, False])
async def test_redis_that_is_restarted_has_the_same_leader(
    data: bool, exchange: Exchange, tmp_path: Path
) -> None:
    async with pair(exchange, tmp_path) as both:
        await both.say(20)
        both.redis.kill()
        if not data:
            both.redis.forget_all()
        both.said = exchange.say(20)[-1]
        await both.leader.settled(lambda found: "lease ran out" in str(found["pair"]["problem"]))
        await both.leader.reached(both.said)
        await both.redis.start()
        await both.follows()
        await both.edge.reached(both.said, 30)
        await both.say(20)
        await both.whole()
        assert (await both.leader.status())["pair"]["role"] == "leader"
        assert "deposed" not in both.leader.log


async def test_a_standby_that_was_away_is_given_the_whole_state(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with pair(exchange, tmp_path) as both:
        await both.standby.kill()
        await both.say(300)
        both.standby.state.unlink()
        await both.standby.start(words="stands by on", delivering=False)
        await both.follows()
        given: dict[str, Any] = await both.leader.status()
        assert given["pair"]["handovers"] >= 1
        await both.leader.kill()
        await both.leads(both.standby)
        both.swap()
        await both.leader.settled(lambda found: found["healthy"])
        await both.say(20)
        await both.whole()
