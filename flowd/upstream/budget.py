"""How much may be asked of a REST service in a minute: one budget for each service, which all
components share that ask it, since it counts by our address.

The window rolls: in no 60 seconds is more spent than the limit, wherever they begin. What was
spent is held until a minute after the answer came, since nobody knows when between question and
answer the service counted it.
"""

from collections import Counter, deque
from typing import Any

import trio
from attrs import define, field

from flowd.values.errors import UserError

WINDOW_S = 60.0
REFUSED_S = 10.0
"""How long nobody asks after a refusal that names no time; twice as long after each further one."""
REFUSED_MAX_S = 60.0
ASKED_FOR_MAX_S = 4 * 86_400.0
"""A service may ask to be left alone for no longer than this."""
WAITING_MAX = 1000
"""Questions that wait for their turn, of one budget."""


@define(eq=False)
class _Entry:
    """Weight that counts; `until` is when it counts no more, None while its answer is awaited."""

    who: str
    weight: int
    until: float | None = None


@define(eq=False)
class _Turn:
    """Somebody who waits for its turn."""

    budget: "Budget"
    weight: int
    priority: int
    number: int
    entry: _Entry | None = None


class Spent:
    """Weight that was granted. `settle` says what it really was, once the answer is here."""

    def __init__(self, pool: "Pool", entry: _Entry) -> None:
        self._pool = pool
        self._entry = entry

    def settle(self, weight: int | None = None) -> None:
        """The question is over, and cost so much: what was held for it by default. Later calls
        correct it.
        """
        entry = self._entry
        if weight is not None:
            entry.weight = weight
        if entry.until is None:
            self._pool.end(entry)
        self._pool.wake()


class Pool:
    """One service's budget. Components see it through a `Budget` each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit: int | None = None
        """Weight per minute: the lowest that a component named."""
        self.total: Counter[str] = Counter()
        """What was ever spent, by component; what others on this address spend is `others`."""
        self.refusals = 0
        self._open: list[_Entry] = []
        self._over: deque[_Entry] = deque()
        self._waiting: list[_Turn] = []
        self._news = trio.lowlevel.ParkingLot()
        self._closed_until = 0.0
        self._refused_s = 0.0
        self._number = 0

    def join(self, who: str, per_minute: int, share: int | None) -> "Budget":
        """A component's own view."""
        if per_minute < 1 or (share is not None and share < 1):
            raise UserError(f"budget {self.name}: expected a weight of at least 1 per minute")
        self.limit = per_minute if self.limit is None else min(self.limit, per_minute)
        return Budget(self, who, share)

    @property
    def used(self) -> int:
        """What counts at this instant."""
        self._let_go()
        return sum(one.weight for one in (*self._open, *self._over))

    def used_by(self, who: str) -> int:
        """What counts of one component's."""
        self._let_go()
        return sum(one.weight for one in (*self._open, *self._over) if one.who == who)

    @property
    def closed_s(self) -> float:
        """For how long nobody asks; 0 when anybody may."""
        return max(0.0, self._closed_until - trio.current_time())

    def end(self, entry: _Entry) -> None:
        """The answer is here: from now on it counts for a minute."""
        self._open.remove(entry)
        entry.until = trio.current_time() + WINDOW_S
        self._over.append(entry)

    def others(self, weight: int) -> None:
        """Somebody else on this address has spent so much."""
        entry = _Entry("others", weight)
        self._open.append(entry)
        self.total["others"] += weight
        self.end(entry)

    def close(self, after_s: float | None) -> float:
        """Nobody asks for so long, or for longer and longer; how long that is."""
        self.refusals += 1
        if after_s is None and self.closed_s:
            # It was asked before the refusal that closed it, and refused for the same reason.
            after_s = self.closed_s
        elif after_s is None:
            self._refused_s = min(max(2 * self._refused_s, REFUSED_S), REFUSED_MAX_S)
            after_s = self._refused_s
        after_s = min(max(after_s, 1.0), ASKED_FOR_MAX_S)
        self._closed_until = max(self._closed_until, trio.current_time() + after_s)
        return after_s

    def accepted(self) -> None:
        """The service answers: a refusal after this is the first again."""
        if not self.closed_s:
            self._refused_s = 0.0

    def wake(self) -> None:
        """Something changed: who waits looks again."""
        self._news.unpark_all()

    async def spend(self, budget: "Budget", weight: int, priority: int) -> Spent:
        """Wait for a turn, and take it."""
        assert self.limit is not None
        most = self.limit if budget.share is None else min(self.limit, budget.share)
        if not 0 < weight <= most:
            raise ValueError(f"budget {self.name}: {weight} can never be had of {most} per minute")
        if len(self._waiting) >= WAITING_MAX:
            raise ValueError(f"budget {self.name}: {WAITING_MAX} questions wait already")
        await trio.lowlevel.checkpoint()
        self._number += 1
        turn = _Turn(budget, weight, priority, self._number)
        self._waiting.append(turn)
        self._waiting.sort(key=lambda one: (one.priority, one.number))
        try:
            while True:
                self._grant()
                if turn.entry is not None:
                    return Spent(self, turn.entry)
                with trio.move_on_at(self._due()):
                    await self._news.park()
        except BaseException:
            if turn.entry is None:
                self._waiting.remove(turn)
            else:
                # It was granted in the same instant in which its asker was cancelled.
                self._open.remove(turn.entry)
                self.total[budget.who] -= turn.entry.weight
            self.wake()
            raise

    def _grant(self) -> None:
        """Give those their turn whose turn it is. Who has used its share up holds nobody up."""
        if self.closed_s:
            return
        granted = False
        for turn in list(self._waiting):
            who, share = turn.budget.who, turn.budget.share
            if share is not None and self.used_by(who) + turn.weight > share:
                continue
            assert self.limit is not None
            if self.used + turn.weight > self.limit:
                break
            turn.entry = _Entry(who, turn.weight)
            self._open.append(turn.entry)
            self.total[who] += turn.weight
            self._waiting.remove(turn)
            granted = True
        if granted:
            self.wake()

    def _due(self) -> float:
        """When to look again."""
        if self.closed_s:
            return self._closed_until
        return float("inf") if not self._over else self._over[0].until or 0.0

    def _let_go(self) -> None:
        now = trio.current_time()
        while self._over and (self._over[0].until or 0.0) <= now:
            self._over.popleft()

    def figures(self) -> dict[str, Any]:
        """What it is, for `/status`: weights of the last minute."""
        self._let_go()
        by: Counter[str] = Counter()
        for one in (*self._open, *self._over):
            by[one.who] += one.weight
        used, limit = sum(by.values()), self.limit or 0
        return {
            "used": used,
            "limit": limit,
            "headroom": max(limit - used, 0),
            "by": {who: weight for who, weight in sorted(by.items()) if weight},
            "waiting": len(self._waiting),
            "refused": self.refusals,
            "closed_s": round(self.closed_s, 1),
            "spent": dict(sorted(self.total.items())),
        }


class Budget:
    """A component's view of a service's budget. Made by `feed.budget`."""

    def __init__(self, pool: Pool, who: str, share: int | None) -> None:
        self._pool = pool
        self.who = who
        self.share = share
        """The most that this component spends of it in a minute; None for as much as there is."""

    @property
    def used(self) -> int:
        """What counts at this instant, of all who share it."""
        return self._pool.used

    @property
    def limit(self) -> int:
        """Weight per minute, for all together."""
        return self._pool.limit or 0

    @property
    def headroom(self) -> int:
        """What could be spent at this instant."""
        return 0 if self._pool.closed_s else max(self.limit - self.used, 0)

    @property
    def closed_s(self) -> float:
        """For how long nobody asks; 0 when anybody may."""
        return self._pool.closed_s

    async def spend(self, weight: int, priority: int = 0) -> Spent:
        """Wait until so much may be asked, and count it. Lower priorities come first, then who came
        first. `settle` what this gives once the answer is here: until then it counts.

        ValueError for what can never be had.
        """
        return await self._pool.spend(self, weight, priority)

    def told(self, used: int) -> None:
        """The service counted `used` in its current minute: what exceeds our count was spent by
        other programs on this address.
        """
        if used > self.used:
            self._pool.others(used - self.used)

    def refused(self, after_s: float | None = None) -> float:
        """The service refuses us: nobody asks for so long. Without a time for ten seconds, and for
        twice as long after each further refusal, up to a minute; what was under way meanwhile and
        is refused too changes nothing. How long it is.
        """
        return self._pool.close(after_s)

    def accepted(self) -> None:
        """The service answers: the next refusal is the first again."""
        self._pool.accepted()


@define(eq=False)
class Budgets:
    """All budgets of the daemon, by the name of the service."""

    _pools: dict[str, Pool] = field(factory=dict)

    def budget(self, who: str, name: str, per_minute: int, share: int | None = None) -> Budget:
        """A component's view of the budget of this name; UserError for what is no limit."""
        pool = self._pools.setdefault(name, Pool(name))
        return pool.join(who, per_minute, share)

    def figures(self) -> dict[str, Any]:
        """For `/status`, by name."""
        return {name: pool.figures() for name, pool in sorted(self._pools.items())}
