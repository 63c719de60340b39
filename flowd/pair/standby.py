"""The daemon that stands by: it follows the frames of the one that leads, and takes the lease once
nobody has it.
"""

import logging
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

import trio
from attrs import evolve, frozen

from flowd.pair.lead import END, NONE, OPENING, PART
from flowd.pair.ledger import Claim, Follower, Ledger, Shipped, Standing
from flowd.pair.trail import Trail
from flowd.stream.frames import Frame, unpacked
from flowd.stream.handover import Handover, Known, Opening, Replica, Unusable
from flowd.values.clock import Stopwatch, token, uptime
from flowd.values.errors import UpstreamError, unwrap

logger = logging.getLogger("flowd.pair")

POLLS = 12
"""How often the lease is asked for while one lasts."""
READ_S = 1.0
APPLY_S = 1.0
APPLY_BYTES = 4 * 1024 * 1024
"""Frames are applied once a second, or when there are so many."""
HANDOVER_S = 15.0
"""A handover of which nothing comes for so long is asked for anew."""
RETRY_S = 0.5


@frozen
class Taken:
    """The lease was taken. `anew` says why all streams begin new epochs, None when they go on."""

    token: int
    at: float
    """By the stopwatch."""
    anew: str | None = None


class Standby:
    """Stands by until it has the lease.

    It gets that at once if it knows all that the one before it had shipped. Else it waits for who
    does know: `patience_s` from when nobody leads. After that it leads with what it has, and all
    streams begin new epochs: what clients were shown is gone, so no number may mean two records.

    When the ledger was away, the one that leads without it comes first: it knows more.
    """

    def __init__(
        self,
        ledger: Ledger,
        replica: Replica,
        name: str,
        patience_s: float,
        watch: Stopwatch = uptime,
    ) -> None:
        self.name = name
        self.there = Standing()
        """How things stood when last asked."""
        self.trouble: str | None = None
        """Why the ledger cannot be asked, or the state not be kept."""
        self.takeovers = 0
        """How often this process took the lease before."""
        self.on_led: Callable[[], None] = lambda: None
        """Called when another daemon is found to lead."""
        self._ledger = ledger
        self._replica = replica
        self._patience_s = patience_s
        self._watch = watch
        self._known = Known()
        self._trail = Trail()
        self._wants: str | None = None
        self._held: list[Frame] = []
        """Frames that are known, and not applied yet."""
        self._held_bytes = 0
        self._applied_at = 0.0
        self._free_since: float | None = None
        self._away = False
        self._not_before = 0.0
        self._installing = False

    async def run(self) -> Taken:
        """Stand by until the lease is ours; the state is then what goes on."""
        self._known = await self._replica.known()
        logger.info("stands by as %s", self.name)
        while True:
            taken: Taken | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow)
                taken = await self._contend()
                nursery.cancel_scope.cancel()
            assert taken is not None
            try:
                await self._apply()
            except (OSError, Unusable) as error:
                self._tell(f"the state cannot be kept: {error}")
                with suppress(UpstreamError):
                    await self._ledger.give_up(taken.token)
                await trio.sleep(2 * self._ledger.ttl_s)
            else:
                return taken

    # -- the lease

    async def _contend(self) -> Taken:
        every_s = self._ledger.ttl_s / POLLS
        while True:
            asked_at = self._watch()
            anew = self._lacks()
            claim = Claim.KNOWING if anew is None else Claim.ANEW
            if self._away or trio.current_time() < self._not_before:
                claim = Claim.NONE
            try:
                who = Follower(self.name, self._known, self._wants)
                there = await self._ledger.take(who, claim)
            except* UpstreamError as errors:
                self._tell(str(unwrap(errors)))
                self._free_since = None
                self._away = True
            else:
                if self._away:
                    self._away, self._not_before = False, trio.current_time() + self._ledger.ttl_s
                self._tell(None)
                self._note(there)
                if there.token is not None:
                    logger.info("leads from here on%s", f": {anew}" if anew else "")
                    return Taken(there.token, asked_at, anew)
            await trio.sleep(every_s)

    def _note(self, there: Standing) -> None:
        before, self.there = self.there.leader, there
        if self._follows():
            self._trail.note(there.last, trio.current_time())
        else:
            self._trail.clear()
        if there.leader is not None:
            self._free_since = None
            if there.leader != before:
                logger.info("%s leads", there.leader)
                if there.token is None:
                    self.on_led()
        elif self._free_since is None:
            self._free_since = trio.current_time()

    def waits_for(self) -> str:
        """Why it does not lead though nobody does."""
        if self._fresh:
            return "waits a moment for one that has led before"
        what = "all that there was" if self.there.life is None else f"frame {self.there.last}"
        return (
            f"this one does not know {what}, and waits {self._patience():g}s for one that does: "
            "then all streams would begin new epochs"
        )

    @property
    def _fresh(self) -> bool:
        """Nobody knows of anything that could go on."""
        return self._known.life is None and not self._known.led and self.there.life is None

    def _patience(self) -> float:
        return 2 * self._ledger.ttl_s if self._fresh else self._patience_s

    def _lacks(self) -> str | None:
        """Why it leads though it does not know all; None while it waits for who does."""
        since = self._free_since
        if since is None or self._installing or trio.current_time() - since < self._patience():
            return None
        if self._fresh:
            return "there is nothing to go on with"
        return f"nobody leads for {self._patience():g}s who knows all that there was"

    def _tell(self, why: str | None) -> None:
        if why is not None and self.trouble is None:
            logger.warning("%s", why)
        self.trouble = why

    # -- the frames

    async def _follow(self) -> None:
        while True:
            try:
                if not self._can_follow():
                    await self._begin()
                elif self.there.life is not None and self._known.life == self.there.life:
                    await self._read()
                else:
                    await trio.sleep(self._ledger.ttl_s / POLLS)
                continue
            except* UpstreamError as errors:
                self._tell(str(unwrap(errors)))
            except* Unusable as errors:
                logger.warning("what the leader sent is not usable: %s", unwrap(errors))
                self._lose()
            except* OSError as errors:
                self._tell(f"the state cannot be kept: {unwrap(errors)}")
            await trio.sleep(RETRY_S)

    def _can_follow(self) -> bool:
        """Whether it may go on from what it knows; where nobody leads, nobody could help it."""
        there = self.there
        if there.life is None or there.leader is None:
            return True
        return self._known.life == there.life and self._known.frame + 1 >= there.first

    def _follows(self) -> bool:
        """Whether it goes on from what it knows."""
        life = self.there.life
        return life is not None and life == self._known.life and self._can_follow()

    async def _read(self) -> None:
        found = await self._ledger.read(self._known.frame, READ_S)
        if not self._take(found):
            await trio.sleep(self._ledger.ttl_s / POLLS)
        late = trio.current_time() - self._applied_at >= APPLY_S
        if late or self._held_bytes > APPLY_BYTES:
            await self._apply()

    def _take(self, found: Sequence[Shipped]) -> bool:
        """Know these too; False when they are not what follows."""
        for one in found:
            if one.life != self._known.life or one.number != self._known.frame + 1:
                # Another life, or a hole: where things stand will tell us, when asked again.
                if one.life == self._known.life:
                    self._lose()
                return False
            frame = unpacked(one.number, one.payload)
            if frame is None:
                raise Unusable(f"frame {one.number} is none")
            self._held.append(frame)
            self._held_bytes += len(one.payload)
            self._known = evolve(self._known, frame=one.number)
        return True

    def _lose(self) -> None:
        """What is known leads nowhere: a handover has to come."""
        self._known = Known(None, 0, led=False)
        self._held, self._held_bytes = [], 0

    async def _apply(self) -> None:
        """Have the state know what we do."""
        self._applied_at = trio.current_time()
        frames, self._held, self._held_bytes = self._held, [], 0
        try:
            with trio.CancelScope(shield=True):
                await self._replica.apply(frames)
        except BaseException:
            self._known = await self._replica.known()
            raise

    # -- the state

    async def _begin(self) -> None:
        """Ask for the leader's state, and be that."""
        await self._apply()
        self._wants = name = token()
        logger.info("asks %s for its state", self.there.leader)
        try:
            kind, data = await self._part(name)
            if kind != OPENING:
                raise Unusable("a handover does not begin as one")
            try:
                opening = Opening.decode(data)
            except ValueError as error:
                raise Unusable(str(error)) from None
            self._installing = True
            async with aclosing(self._parts(name)) as parts:
                await self._replica.install(Handover(opening, parts))
            self._known = Known(opening.life, opening.frame)
            logger.info("has the state up to frame %d", opening.frame)
        finally:
            self._wants, self._installing = None, False

    async def _parts(self, name: str) -> AsyncGenerator[bytes, None]:
        check = 0
        while True:
            kind, data = await self._part(name)
            if kind == END:
                if check.to_bytes(4, "big") != data:
                    raise Unusable("its checksum is wrong")
                return
            if kind != PART:
                raise Unusable("a handover begins in the midst of another")
            check = zlib.crc32(data, check)
            yield data

    async def _part(self, name: str) -> tuple[bytes, bytes]:
        with trio.move_on_after(HANDOVER_S):
            while True:
                part = await self._ledger.next_part(name, READ_S)
                if part and part != NONE:
                    return part[:1], part[1:]
                if part == NONE:
                    raise UpstreamError(f"{self.there.leader} has no state to hand over yet")
        raise UpstreamError(f"no state came within {HANDOVER_S:g}s")

    def figures(self) -> dict[str, Any]:
        """How it stands by, for `/status`."""
        there, known = self.there, self._known
        # What was heard last is no answer while nobody can be asked.
        follows = self._follows() and not self._away
        now = trio.current_time()
        return {
            "role": "standby",
            "name": self.name,
            "leader": there.leader,
            "frame": known.frame,
            "behind": max(0, there.last - known.frame) if follows else None,
            "behind_s": round(self._trail.behind_s(known.frame, now), 1) if follows else None,
            "takeovers": self.takeovers,
            "handover": self._wants is not None,
            "problem": self.problem(),
        }

    def problem(self) -> str | None:
        """What is wrong, in a sentence; None when nothing is."""
        if self.trouble is not None:
            return self.trouble
        if self.there.leader is None:
            return f"nobody leads; {self.waits_for()}"
        if not self._can_follow():
            return f"waits for the state of {self.there.leader}"
        return None
