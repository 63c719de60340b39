"""Daemons that say at Redis that they live, every two seconds, and hear of each other there.

Who is alive is told by the clock of Redis alone, so that the daemons' may differ.
"""

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from flowd.plugin import Clock, Peer, Peers, UpstreamError, codec
from flowd_redis import scripts
from flowd_redis.layout import Keys
from flowd_redis.refusals import WRONGTYPE, Refused
from flowd_redis.server import Login, Server, dialled

logger = logging.getLogger("flowd.redis")

BEAT_S = 2.0
LEAVE_S = 0.5
"""How long a daemon that ends tries to say so."""
ADDRESSES_MAX = 4
MAY_NOT = ("NOPERM", "READONLY")
"""What Redis says to who may only read there."""


@frozen
class Heard:
    """Another daemon as it was heard of, and by how much its clock is ahead of Redis'."""

    peer: Peer
    clock_ms: int = 0


def write(peer: Peer, clock_ms: int) -> bytes:
    """What a daemon says of itself, in a few hundred bytes."""
    problem = None if peer.problem is None else peer.problem[:200]
    bounded = evolve(
        peer,
        role=peer.role[:40],
        host=peer.host[:100],
        version=peer.version[:40],
        addresses=tuple(one[:100] for one in peer.addresses[:ADDRESSES_MAX]),
        problem=problem,
    )
    return codec.encode({**codec.to_plain(bounded), "clock_ms": clock_ms})


def read(text: bytes, now_ms: int) -> Heard | None:
    """What another one said, `<time> <json>`; None when it is no such thing. Fields that are not
    known here are a later flowd's.
    """
    at_ms, _, said = text.partition(b" ")
    try:
        found: dict[str, Any] = codec.decode(said)
        clock_ms = int(found.pop("clock_ms", 0))
        found["age_ms"] = max(0, now_ms - int(at_ms))
        return Heard(codec.structure(found, Peer), clock_ms)
    except (ValueError, TypeError, AttributeError):
        return None


@define(eq=False)
class Beats:
    """One daemon's beats, told for one of its components."""

    component: str
    peers: Peers
    clock: Clock
    _server: Server
    _keys: Keys
    _beat: Any = field(init=False)
    clock_ms: int = field(default=0, init=False)
    """By how much this machine's clock is ahead of Redis'."""
    trouble: str | None = field(default=None, init=False)
    """Why nobody can be heard of, in a sentence; None where one can."""
    _id: str = field(default="", init=False)
    _mute: str | None = field(default=None, init=False)
    """Why others cannot be told of this one; None where they are."""

    def __attrs_post_init__(self) -> None:
        self._beat = self._server.client.register_script(scripts.BEAT)

    async def beat(self) -> list[Heard]:
        """Say that we live, and hear who else does. Who may only read there only hears.
        UpstreamError where Redis does not answer, or refuses that, too.
        """
        own = self.peers.own
        self._id = own.id
        before_ms = self.clock()
        try:
            arguments = [own.id, write(own, self.clock_ms)]
            now, *told = await self._server.ask(self._beat([self._keys.peers], arguments))
            now_ms, self._mute, self.trouble = int(now), None, None
        except Refused as error:
            if error.code == WRONGTYPE:
                return self._deaf()
            if error.code not in MAY_NOT or (error.code == "READONLY" and self._server.several):
                raise  # Of several servers the primary is meant.
            self._warn(f"other daemons are not told of this one: {error}")
            now_ms, told = await self._listen()
        self.clock_ms = (before_ms + self.clock()) // 2 - now_ms
        heard = [one for text in told if (one := read(text, now_ms)) is not None]
        heard = [one for one in heard if one.peer.id != own.id]
        self.peers.heard(self.component, [one.peer for one in heard])
        return heard

    def _deaf(self) -> list[Heard]:
        """Nobody can be heard of; what streams carry comes all the same."""
        self.trouble = (
            f"{self._server.where}: the key {self._keys.peers} is not flowd's: delete it; until "
            "then it is not known which daemons live"
        )
        self._warn(self.trouble)
        self.peers.heard(self.component, [])
        return []

    async def _listen(self) -> tuple[int, Sequence[bytes]]:
        client = self._server.client
        now = await self._server.ask(client.time())
        told = await self._server.ask(client.hgetall(self._keys.peers))
        return round(now.timestamp() * 1000), list(told.values())[: scripts.PEERS_MAX]

    def _warn(self, why: str) -> None:
        if self._mute != why:
            logger.warning("%s: %s", self.component, why)
        self._mute = why

    async def run(self, tell: Callable[[], None]) -> None:
        """Beat for ever, each time after `tell`, which says how this daemon is. What Redis refuses
        is logged once: whoever sends there tells what is wrong with it.
        """
        while True:
            tell()
            try:
                await self.beat()
            except UpstreamError as error:
                self._warn(f"does not hear of other daemons: {error}")
            await trio.sleep(BEAT_S)

    @asynccontextmanager
    async def until_the_end(self, login: Login) -> AsyncIterator[None]:
        """Within this block the daemon lives. Others need not wait to find out that it has ended
        where that was in order.
        """
        ended = False
        try:
            yield
            ended = True
        finally:
            if ended or trio.current_effective_deadline() == -math.inf:
                await self._leave(login)

    async def _leave(self, login: Login) -> None:
        # The connections here are ended already, where all is.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S):
            try:
                async with dialled(login) as server:
                    await server.ask(server.client.hdel(self._keys.peers, [self._id]))
            except* UpstreamError:
                pass  # Then it is found out by its silence.
