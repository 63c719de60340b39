"""The daemon that leads: its lease, its frames, and the state that it gives to who stands by."""

import logging
import sqlite3
import zlib
from collections.abc import Callable
from typing import Any

import trio

from flowd.pair.ledger import Deposed, Follower, Ledger
from flowd.pair.shipping import Shipping
from flowd.pair.trail import Trail
from flowd.stream.journal import Journal
from flowd.stream.snapshot import Store
from flowd.values.clock import Stopwatch, uptime
from flowd.values.errors import UpstreamError, unwrap

logger = logging.getLogger("flowd.pair")

RENEWALS = 3
"""A lease is renewed so many times before it would run out."""
OFFER_S = 0.05
HANDOVER_S = 60.0
"""A handover that is not taken for so long is given up."""
END_S = 2.0
"""How long what is left may take to be shipped at an orderly end."""
OPENING, PART, END, NONE = b"O", b"P", b"E", b"N"
"""What each part of a handover begins with, or what says that there is none at the moment."""


class Lead:
    """The lease of one daemon's life, from the moment it was taken.

    Without the ledger it goes on leading until it learns that another one did: nobody else can be
    asked. What it must not do meanwhile waits: see `reached`. A daemon that was suspended for
    longer than its lease is deposed before it takes a step: it cannot know who leads.
    """

    def __init__(
        self,
        ledger: Ledger,
        token: int,
        name: str = "",
        watch: Stopwatch = uptime,
        taken_at: float | None = None,
    ) -> None:
        self.token = token
        """What fences off who led before: larger than any that was given."""
        self.name = name
        self.deposed: str | None = None
        """Why it leads no more; None while it does."""
        self.on_deposed: Callable[[str], None] = lambda why: None
        self.follower: Follower | None = None
        """Who stands by, as far as is known."""
        self.handovers = 0
        self.takeovers = 1
        """How often this process took the lease."""
        self._ledger = ledger
        self._watch = watch
        self._until = (watch() if taken_at is None else taken_at) + ledger.first_s
        self._trouble: str | None = None
        self._begun, self._serves = trio.Event(), trio.Event()
        self._journal: Journal
        self._store: Store
        self._shipping: Shipping
        self._trail = Trail()
        self._handing: str | None = None
        self._handed = 0
        """The frame that the newest handover contains."""

    def begin(
        self, journal: Journal, store: Store, on_deposed: Callable[[str], None] = lambda why: None
    ) -> None:
        """Ship what this journal writes from here on; be told, once, when it leads no more."""
        self._journal, self._store, self.on_deposed = journal, store, on_deposed
        assert journal.lineage is not None
        self._shipping = Shipping(
            self._ledger, self.token, journal.lineage, journal.frame, self.depose
        )
        journal.on_frame = self._shipping.note
        self._begun.set()
        if self.deposed is not None:
            store.disown()
            on_deposed(self.deposed)

    def serve(self) -> None:
        """It publishes from here on. Before, its loop may be held for long, which harms nobody."""
        self._serves.set()

    @property
    def serving(self) -> bool:
        """Whether it publishes."""
        return self._serves.is_set()

    async def run(self) -> None:
        """Keep the lease, and ship what there is once it has begun, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            await self._begun.wait()
            nursery.start_soon(self._shipping.run)
            nursery.start_soon(self._serve)

    async def reached(self) -> None:
        """Wait until who stands by knows, or can know, all that is known here now."""
        await self._shipping.reached(self._journal.frame)

    async def end(self) -> None:
        """Ship what is left, and give the lease up."""
        if self.deposed is None:
            with trio.move_on_after(END_S):
                try:
                    await self.reached()
                    await self._ledger.give_up(self.token)
                except* UpstreamError as errors:
                    logger.warning("the lease is not given up: %s", unwrap(errors))

    def depose(self, why: str) -> None:
        """Lead no more."""
        if self.deposed is None:
            self.deposed = why
            if self._begun.is_set():
                self._store.disown()
            self._stand_back(why)

    def suspended(self, for_s: float) -> None:
        """Step back after so long a time in which nothing ran: others may lead by now."""
        if self.deposed is None:
            self.deposed = f"was suspended for {for_s:.1f}s, and its lease ran out meanwhile"
            self._stand_back(self.deposed)

    def _stand_back(self, why: str) -> None:
        logger.warning("deposed: %s", why)
        self.on_deposed(why)

    @property
    def left_s(self) -> float:
        """How long the lease lasts, as far as is known here; negative when it is over."""
        return self._until - self._watch()

    async def _renew(self) -> None:
        every_s = self._ledger.ttl_s / RENEWALS
        with trio.move_on_after(self._ledger.first_s / 2):
            await self._serves.wait()
        while True:
            try:
                asked_at = self._watch()
                follower = await self._ledger.renew(self.token)
                self._renewed(asked_at, follower)
            except* Deposed as errors:
                self.depose(str(unwrap(errors)))
                await trio.sleep_forever()
            except* UpstreamError as errors:
                self._away(str(unwrap(errors)))
            await trio.sleep(every_s)

    async def _serve(self) -> None:
        """Give who stands by what it wants, and let go of frames that nobody will."""
        async with trio.open_nursery() as nursery:
            while True:
                wanted = None if self.follower is None else self.follower.wants
                if wanted is not None and wanted != self._handing:
                    self._handing = wanted
                    nursery.start_soon(self._hand_over, wanted)
                try:
                    await self._shipping.trim(self._upto())
                except* Deposed as errors:
                    self.depose(str(unwrap(errors)))
                except* UpstreamError as errors:
                    self._away(str(unwrap(errors)))
                await trio.sleep(self._ledger.ttl_s / RENEWALS)

    def _renewed(self, at: float, follower: Follower | None) -> None:
        if self._trouble is not None:
            logger.info("the lease is renewed again")
        self._trouble, self._until = None, at + self._ledger.ttl_s
        before, self.follower = self.follower, follower
        if self._follows():
            self._trail.note(self._journal.frame, trio.current_time())
        else:
            self._trail.clear()
        if (before is None) != (follower is None):
            logger.info(
                "%s stands by" if follower is not None else "%s does not stand by any more",
                (follower or before or Follower("", None)).name,  # type: ignore[arg-type]  # one of two
            )

    def _follows(self) -> bool:
        """Whether there is one who stands by and goes on from what it knows."""
        if self.follower is None or not self._begun.is_set():
            return False
        return self.follower.known.life == self._journal.lineage

    def _away(self, why: str) -> None:
        if self._trouble is None:
            logger.warning("the lease cannot be renewed: %s", why)
        self._trouble = why

    def _upto(self) -> int:
        """The frame up to which nobody needs frames: who begins gets the last save."""
        safe, follower = self._journal.safe, self.follower
        if follower is None:
            return safe
        if follower.known.life == self._journal.lineage:
            return min(safe, follower.known.frame)
        return min(safe, self._handed) if follower.wants is not None else safe

    async def _hand_over(self, name: str) -> None:
        """Give our state to who asked for it."""
        try:
            async with self._store.handover() as handover:
                if handover is None:
                    await self._offer(name, NONE)
                    return
                self._handed = handover.opening.frame
                check = 0
                await self._offer(name, OPENING + handover.opening.encode())
                async for part in handover.parts:
                    check = zlib.crc32(part, check)
                    await self._offer(name, PART + part)
                await self._offer(name, END + check.to_bytes(4, "big"))
                self.handovers += 1
        except* UpstreamError as errors:
            logger.warning("the state is not handed over: %s", unwrap(errors))
        except* (OSError, sqlite3.Error) as errors:
            logger.error("the state cannot be handed over: %s", unwrap(errors))

    async def _offer(self, name: str, part: bytes) -> None:
        with trio.move_on_after(HANDOVER_S):
            while not await self._ledger.offer(name, part):  # noqa: ASYNC110
                await trio.sleep(OFFER_S)
            return
        raise UpstreamError("nobody takes it")

    def trouble(self) -> str | None:
        """What is wrong, in a sentence; None when nothing is."""
        if self.left_s < 0:
            return (
                f"the lease ran out {-self.left_s:.0f}s ago: {self._trouble or 'not renewed'}. "
                "It goes on, and publishes nothing that another daemon could not know"
            )
        return self._trouble or self._shipping.trouble

    def figures(self) -> dict[str, Any]:
        """How the pair is, for `/status`."""
        follower = self.follower
        behind, behind_s = None, None
        if follower is not None and self._follows():
            behind = max(0, self._journal.frame - follower.known.frame)
            behind_s = round(self._trail.behind_s(follower.known.frame, trio.current_time()), 1)
        return {
            "role": "leader",
            "name": self.name,
            "leader": self.name,
            "token": self.token,
            "lease_left_s": round(self.left_s, 1),
            "problem": self.trouble(),
            "standby": None if follower is None else follower.name,
            "standby_behind": behind,
            "standby_behind_s": behind_s,
            "takeovers": self.takeovers,
            "handovers": self.handovers,
            "frames_bytes_max": self._shipping.limit_bytes,
            **self._shipping.figures(),
        }


class Suspension(trio.abc.Instrument):
    """Notices that nothing ran for longer than a lease lasts, before any task does."""

    def __init__(self, lead: Lead, ttl_s: float, watch: Stopwatch = uptime) -> None:
        self._lead = lead
        self._ttl_s = ttl_s
        self._watch = watch
        self._turned = watch()

    def before_io_wait(self, timeout: float) -> None:
        """All that was to run has run."""
        self._look()

    def after_io_wait(self, timeout: float) -> None:
        """What has come meanwhile was given to nobody yet."""
        self._look()

    def _look(self) -> None:
        now = self._watch()
        away_s, self._turned = now - self._turned, now
        if (
            self._lead.serving
            and away_s > self._ttl_s * (1 - 1 / RENEWALS)
            and self._lead.left_s < 0
        ):
            self._lead.suspended(away_s)
