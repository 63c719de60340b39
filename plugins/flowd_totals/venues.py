"""Whose rows the sums are made of, and what these are worth: by when each venue last counted."""

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from flowd.plugin import Stream
from flowd_totals.records import Venue
from flowd_totals.window import Window

Worth = tuple[str, str, str]
"""A venue, the kind of its prices, and its coverage."""
UNKNOWN: Worth = ("", "fill", "sampled")
"""Of what was counted before venues were noted, no more is said than is known."""


@frozen
class Told:
    """What a ranking says of its venues."""

    venues: list[str]
    lower_bound: bool
    approximate: bool


def worth_of(values: Iterable[Any]) -> set[Worth]:
    """The venues of these rows; a public trade is told with the price at which it was made."""
    return {
        (
            value.venue,
            getattr(value, "price_kind", "fill"),
            getattr(value, "coverage", "all"),
        )
        for value in values
    }


class Venues:
    """When each venue was counted last. Nothing of it is in the table before `save`."""

    def __init__(self, table: Stream[Venue]) -> None:
        self._table = table
        self._changed: set[Worth] = set()
        self._newest: dict[Worth, int] = {}
        for record in table.after(0):
            one = record.value
            self._newest[one.venue, one.price_kind, one.coverage] = one.newest_ms

    def __bool__(self) -> bool:
        return bool(self._newest)

    def note(self, told: Iterable[Worth], start_ms: int) -> None:
        """Something of these venues was counted in the span that begins then."""
        for one in told:
            if start_ms > self._newest.get(one, -1):
                self._newest[one] = start_ms
                self._changed.add(one)

    def save(self) -> None:
        """Write what was noted. To be called in the step in which the sums are saved."""
        for one in self._changed:
            saved = Venue(*one, self._newest[one])
            self._table.append(saved, key="/".join(one))
        self._changed.clear()

    def within(self, window: Window, now_ms: int) -> Told:
        """The venues of which something is in a window, as its steps go out of it."""
        from_ms = now_ms - window.width_ms
        found = [
            one
            for one, newest_ms in self._newest.items()
            if newest_ms - newest_ms % window.step_ms >= from_ms
        ]
        return Told(
            sorted({venue for venue, _, _ in found if venue}),
            any(coverage == "sampled" for _, _, coverage in found),
            any(kind in ("limit", "bankruptcy") for _, kind, _ in found),
        )
