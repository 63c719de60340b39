"""What venues added to one bucket: put together, each named, never added up in silence.

All numbers are in their plain form, as buckets hold them. Most buckets have one venue, and that is
the way that costs little.
"""

from operator import attrgetter

from attrs import evolve

from flowd.market import Bucket, VenueSum

Parts = dict[str, VenueSum]
"""By venue."""
Venues = tuple[VenueSum, ...]
"""By name, as a bucket holds them."""


def put(parts: Parts, part: VenueSum) -> None:
    """Put a part to the others; two of one venue become one."""
    before = parts.get(part.venue)
    parts[part.venue] = part if before is None else before.joined(part)


def ordered(parts: Parts) -> Venues:
    """Parts as a bucket holds them."""
    found = tuple(parts.values())
    return found if len(found) == 1 else tuple(sorted(found, key=attrgetter("venue")))


def joined(before: Bucket, parts: Parts, *, alone: bool) -> Venues:
    """A bucket's parts with these added. What was saved before venues were noted stays a part
    without a name, unless its orders are `alone` those of the venue that comes.
    """
    there = before.venues
    if len(there) == len(parts) == 1 and there[0].venue in parts:
        return (there[0].joined(parts[there[0].venue]),)
    found: Parts = {}
    for part in before.parts:
        unnamed = not part.venue and alone and len(parts) == 1
        put(found, evolve(part, venue=next(iter(parts))) if unnamed else part)
    for part in parts.values():
        put(found, part)
    return ordered(found)


def only(venues: Venues) -> str:
    """The one venue's name; empty where there are several, or none."""
    return venues[0].venue if len(venues) == 1 else ""
