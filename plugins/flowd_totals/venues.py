"""Whose rows the sums are made of, and what these are worth: by when each venue counted."""

from collections.abc import Container, Mapping
from typing import Any

from attrs import evolve, frozen

from flowd.market import Coverage, Liquidation, PriceKind
from flowd.plugin import Stream
from flowd_totals.board import Board
from flowd_totals.records import REST, Venue, VenueVolume
from flowd_totals.window import Window

Worth = tuple[str, PriceKind, Coverage]
"""A venue, the kind of its prices, and its coverage."""
UNKNOWN: Worth = ("", "fill", "sampled")
"""Of what was counted before venues were noted, no more is said than is known."""
VENUES_MAX = 20
"""Venues told one by one; further ones are summed as `REST`."""


@frozen
class Told:
    """What a ranking says of its venues."""

    venues: list[str]
    lower_bound: bool
    approximate: bool


def worth_of(value: Any) -> Worth:
    """The venue of a row; a fill or public trade is told with the price at which it was made."""
    if isinstance(value, Liquidation):
        return value.venue, value.price_kind, value.coverage
    return value.venue, "fill", "all"


class Venues:
    """When each venue was counted. Nothing of it is in the table before `save`."""

    def __init__(self, table: Stream[Venue]) -> None:
        self._table = table
        self._changed: set[Worth] = set()
        self._noted: dict[Worth, Venue] = {}
        for record in table.after(0):
            one = record.value
            self._noted[one.venue, one.price_kind, one.coverage] = one

    def __bool__(self) -> bool:
        return bool(self._noted)

    @property
    def only(self) -> Worth:
        """Whose all is that was counted so far; of several, or none, nobody knows."""
        return next(iter(self._noted)) if len(self._noted) == 1 else UNKNOWN

    def known(self, worth: Worth) -> Worth:
        """The same, but for a venue that is one too many."""
        if worth in self._noted:
            return worth
        names = {venue for venue, _, _ in self._noted}
        return worth if worth[0] in names or len(names) < VENUES_MAX else (REST, *worth[1:])

    def note(self, worth: Worth, start_ms: int, accounts: bool = True) -> None:
        """Something of this venue was counted in the span that begins then."""
        before = self._noted.get(worth)
        if before is None:
            now = Venue(*worth, start_ms, start_ms, accounts)
        else:
            oldest_ms = before.oldest_ms
            now = evolve(
                before,
                newest_ms=max(start_ms, before.newest_ms),
                oldest_ms=None if oldest_ms is None else min(start_ms, oldest_ms),
                accounts=accounts or (before.accounts and before.oldest_ms is not None),
            )
        if now != before:
            self._noted[worth] = now
            self._changed.add(worth)

    def save(self) -> None:
        """Write what was noted. To be called in the step in which the sums are saved."""
        for worth in self._changed:
            self._table.append(self._noted[worth], key="/".join(worth))
        self._changed.clear()

    def within(self, window: Window, now_ms: int, coins: Container[str] | None = None) -> Told:
        """The venues of which something is in a window, as its steps go out of it: those that have
        `coins` there, else those that tell of accounts.
        """
        found = [
            one
            for one in self._within(window, now_ms)
            if (one.accounts if coins is None else one.venue in coins or not one.venue)
        ]
        return Told(sorted({one.venue for one in found if one.venue}), *_doubts(found))

    def volumes(
        self, window: Window, now_ms: int, boards: Mapping[str, Board]
    ) -> list[VenueVolume]:
        """What each adds to a window, whose sums by venue these are."""
        found = self._within(window, now_ms)
        volumes = []
        for name in sorted(boards):
            board = boards[name]
            told = [one for one in found if one.venue == name]
            times = [one.oldest_ms for one in told if one.oldest_ms is not None]
            since_ms = min(times) if len(times) == len(told) and times else None
            volumes.append(VenueVolume(name, board.volume, board.count, since_ms, *_doubts(told)))
        return volumes

    def _within(self, window: Window, now_ms: int) -> list[Venue]:
        from_ms, step_ms = now_ms - window.width_ms, window.step_ms
        return [
            one
            for one in self._noted.values()
            if one.newest_ms - one.newest_ms % step_ms >= from_ms
        ]


def _doubts(found: list[Venue]) -> tuple[bool, bool]:
    """Whether a sum of these is a lower bound, and whether it is approximate."""
    return (
        any(one.coverage == "sampled" for one in found),
        any(one.price_kind in ("limit", "bankruptcy") for one in found),
    )
