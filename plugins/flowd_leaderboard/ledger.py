"""The trips of all accounts: bounded, saved, and copied in one step for who computes with them.

What is here is saved together with the place up to which fills were read. And a fill that comes
again is not counted again (`flowd_leaderboard.trips`), so that past fills may come beside the
stream's.
"""

from typing import Any, Final

import trio

from flowd.plugin import Feed, Stream
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.saved import SavedTrips, read, written
from flowd_leaderboard.trips import Trips

ACCOUNTS_MAX: Final = 20_000
BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the saved form of all of them. In memory they take some thirteen times as much: an account
that trades three coins about 4.7 KiB, for 370 bytes.
"""
LOAD_SLICE: Final = 50
WATCHED_MAX: Final = 20_000
"""Fills of one account that are kept while its past is asked for."""


class Entry:
    """One account. It may be shared with a copy that was taken when `generation` was counted."""

    __slots__ = ("asked_ms", "generation", "size", "trips")

    def __init__(self, trips: Trips, generation: int, asked_ms: int | None = None) -> None:
        self.trips = trips
        self.generation = generation
        self.asked_ms = asked_ms
        self.size = 0


class Ledger:
    """Trips by address, the account that traded last at the end. Those that traded longest ago are
    forgotten when there are too many, and counted.
    """

    def __init__(
        self,
        feed: Feed[Any],
        table: Stream[SavedTrips],
        *,
        accounts_max: int = ACCOUNTS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.bytes = 0
        self.forgotten = 0
        self._feed = feed
        self._table = table
        self._accounts_max = accounts_max
        self._bytes_max = bytes_max
        self._entries: dict[str, Entry] = {}
        self._changed: dict[str, None] = {}
        self._generation = 0
        self._watched: dict[str, list[tuple[str, Leg]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def load(self) -> None:
        """Go on from the table."""
        for number, record in enumerate(self._table.after(0)):
            saved = record.value
            try:
                entry = Entry(read(saved.state), self._generation, saved.asked_ms)
            except ValueError as error:
                self._feed.drop("unreadable trips", str(error))
                continue
            entry.size = len(saved.state)
            self.bytes += entry.size
            self._entries[saved.address] = entry
            if number % LOAD_SLICE == 0:
                await trio.lowlevel.checkpoint()

    def add(self, address: str, symbol: str, leg: Leg) -> bool:
        """Take a fill; False when it came before or too late."""
        watched = self._watched.get(address)
        if watched is not None and len(watched) < WATCHED_MAX:
            watched.append((symbol, leg))
        entry = self._entries.pop(address, None)
        if entry is None:
            entry = Entry(Trips(), self._generation)
        self._entries[address] = entry
        if entry.generation != self._generation:
            entry.trips, entry.generation = entry.trips.copy(), self._generation
        taken = entry.trips.add(symbol, leg)
        if taken:
            self._changed[address] = None
        return taken

    def get(self, address: str) -> Trips | None:
        """An account's trips, not to be changed."""
        entry = self._entries.get(address)
        return None if entry is None else entry.trips

    def asked_ms(self, address: str) -> int | None:
        """When an account's past fills were asked for."""
        entry = self._entries.get(address)
        return None if entry is None else entry.asked_ms

    def copy(self) -> dict[str, Trips]:
        """All trips as they are now. From here on each account that changes is copied first."""
        self._generation += 1
        return {address: entry.trips for address, entry in self._entries.items()}

    # -- while the past of an account is asked for --

    def watch(self, address: str) -> None:
        """Keep what comes of this account, for `replace`."""
        self._watched[address] = []

    def unwatch(self, address: str) -> None:
        """Do so no longer."""
        self._watched.pop(address, None)

    def replace(self, address: str, trips: Trips, upto_ms: int, asked_ms: int) -> None:
        """An account's trips are now these, which have all fills up to `upto_ms`; and what has come
        since it is watched. To be saved in the same step.
        """
        for symbol, leg in self._watched.get(address, []):
            if leg.time_ms > upto_ms:
                trips.add(symbol, leg)
        before = self._entries.pop(address, None)
        entry = self._entries[address] = Entry(trips, self._generation, asked_ms)
        entry.size = 0 if before is None else before.size
        self._changed[address] = None

    # -- saving --

    @property
    def changed(self) -> int:
        """How many accounts are to be saved."""
        return len(self._changed)

    def save(self) -> None:
        """Write what has changed. To be called in one step with the place of what was read."""
        for address in self._changed:
            entry = self._entries[address]
            state = written(entry.trips)
            self._table.append(SavedTrips(address, entry.asked_ms, state), key=address)
            self.bytes += len(state) - entry.size
            entry.size = len(state)
        self._changed.clear()
        while len(self._entries) > self._accounts_max or self.bytes > self._bytes_max:
            address = next(iter(self._entries))
            self.bytes -= self._entries.pop(address).size
            self._table.forget(address)
            self.forgotten += 1
