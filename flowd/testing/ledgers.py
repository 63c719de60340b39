"""A ledger in memory, for tests of two daemons that never leave the process."""

from collections import deque
from collections.abc import Sequence

import trio
from attrs import define, field

from flowd.pair.ledger import Claim, Deposed, Follower, Shipped, Standing
from flowd.values.errors import UpstreamError

READ_MAX = 100
PARTS_MAX = 4


@define(eq=False)
class Lease:
    """Who has it, and until when."""

    token: int
    name: str
    until: float


@define(eq=False)
class MemoryLedger:
    """What a server would do, by Trio's clock. While `away` is true nobody reaches it."""

    ttl_s: float = 3.0
    first_s: float = 10.0
    away: bool = False
    delay_s: float = 0.0
    """So long it takes until something is done, and as long until that is known."""
    lease: Lease | None = None
    token: int = 0
    leader: str = ""
    life: str | None = None
    first: int = 0
    last: int = 0
    frames: list[Shipped] = field(factory=list)
    followers: dict[str, tuple[Follower, float]] = field(factory=dict)
    handovers: dict[str, deque[bytes]] = field(factory=dict)
    refused: int = 0
    """How often somebody was found to be deposed."""

    def forget_all(self) -> None:
        """As after a restart without data."""
        self.lease, self.token, self.life, self.frames = None, 0, None, []
        self.first = self.last = 0
        self.followers.clear()
        self.handovers.clear()

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        await trio.sleep(self.delay_s)
        self._is_there()

    async def _done(self) -> None:
        await trio.sleep(self.delay_s)
        self._is_there()

    def _is_there(self) -> None:
        if self.away:
            raise UpstreamError("the ledger cannot be reached")

    def _leader(self) -> Lease | None:
        if self.lease is not None and self.lease.until <= trio.current_time():
            self.lease = None
        return self.lease

    def _check(self, token: int) -> None:
        lease = self._leader()
        if self.token > token or (lease is not None and lease.token != token):
            self.refused += 1
            raise Deposed("another daemon leads")
        self.token = token
        self.lease = Lease(token, self.leader, trio.current_time() + self.ttl_s)

    async def take(self, who: Follower, claim: Claim) -> Standing:
        """The lease, if it is free and all is known."""
        await self._reach()
        self.followers[who.name] = (who, trio.current_time() + self.ttl_s)
        lease, known = self._leader(), who.known
        if lease is None and claim is not Claim.NONE:
            whole = known.life == self.life and known.frame >= self.last
            if claim is Claim.ANEW or (known.led if self.life is None else whole):
                self.token = max(self.token + 1, round(trio.current_time() * 1000))
                self.leader = who.name
                self.lease = Lease(self.token, who.name, trio.current_time() + self.first_s)
                del self.followers[who.name]
                await self._done()
                return Standing(self.token, who.name, self.life, self.first, self.last)
        await self._done()
        leader = None if lease is None else lease.name
        return Standing(None, leader, self.life, self.first, self.last)

    async def renew(self, token: int) -> Follower | None:
        """The lease for as long again."""
        await self._reach()
        self._check(token)
        now = trio.current_time()
        found = next((who for who, until in self.followers.values() if until > now), None)
        await self._done()
        return found

    async def give_up(self, token: int) -> None:
        """Nobody's."""
        await self._reach()
        if self.lease is not None and self.lease.token == token:
            self.lease = None
        await self._done()

    async def ship(self, token: int, after: int, frames: Sequence[Shipped]) -> None:
        """Keep these."""
        await self._reach()
        self._check(token)
        life, last = frames[0].life, frames[-1].number
        if (self.life, self.last) != (life, last):
            if (self.life, self.last) != (life, after):
                self.frames, self.first = [], after + 1
            self.frames += frames
            self.life, self.last = life, last
        await self._done()

    async def trim(self, token: int, upto: int) -> None:
        """Let go of these."""
        await self._reach()
        self._check(token)
        self.frames = [frame for frame in self.frames if frame.number > upto]
        self.first = max(self.first, upto + 1)
        await self._done()

    async def read(self, after: int, wait_s: float) -> Sequence[Shipped]:
        """What is there behind this one."""
        await self._reach()
        with trio.move_on_after(wait_s):
            while True:
                found = [one for one in self.frames if one.number > after][:READ_MAX]
                if found:
                    return found
                await trio.sleep(0.05)
        self._is_there()
        return []

    async def offer(self, handover: str, part: bytes) -> bool:
        """Put it there."""
        await self._reach()
        there = self.handovers.setdefault(handover, deque())
        if len(there) >= PARTS_MAX:
            return False
        there.append(part)
        await self._done()
        return True

    async def next_part(self, handover: str, wait_s: float) -> bytes | None:
        """Take it away."""
        await self._reach()
        with trio.move_on_after(wait_s):
            while not self.handovers.get(handover):  # noqa: ASYNC110
                await trio.sleep(0.05)
            return self.handovers[handover].popleft()
        self._is_there()
        return None
