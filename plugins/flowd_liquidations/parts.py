"""What venues added to one bucket: put together, each named, never added up in silence.

All numbers are in their plain form, as buckets hold them. Most buckets have one venue, and that is
the way that costs little.
"""

from decimal import Decimal
from operator import attrgetter

from attrs import evolve

from flowd.market import EXACT, Bucket, PriceKind, VenueSum, trimmed

Parts = dict[str, VenueSum]
"""By venue."""
Venues = tuple[VenueSum, ...]
"""By name, as a bucket holds them."""

_WORSE: dict[PriceKind, int] = {"fill": 0, "mark": 1, "limit": 2, "bankruptcy": 3}


def put(parts: Parts, part: VenueSum) -> None:
    """Put a part to the others; two of one venue become one."""
    before = parts.get(part.venue)
    parts[part.venue] = part if before is None else both(before, part)


def both(one: VenueSum, other: VenueSum) -> VenueSum:
    """Two parts of one venue as one, as little exact as the lesser of them."""
    price_kind, coverage = one.price_kind, one.coverage
    if price_kind != other.price_kind:
        price_kind = max(price_kind, other.price_kind, key=_WORSE.__getitem__)
    if coverage != other.coverage:
        coverage = "sampled"
    return VenueSum(
        one.venue,
        trimmed(EXACT.add(one.buy, other.buy)) if other.buy else one.buy,
        trimmed(EXACT.add(one.sell, other.sell)) if other.sell else one.sell,
        one.count + other.count,
        price_kind,
        coverage,
    )


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
        return (both(there[0], parts[there[0].venue]),)
    found: Parts = {}
    for part in before.parts:
        unnamed = not part.venue and alone and len(parts) == 1
        put(found, evolve(part, venue=next(iter(parts))) if unnamed else part)
    for part in parts.values():
        put(found, part)
    return ordered(found)


def totals(venues: Venues) -> tuple[Decimal, Decimal, int]:
    """All that was bought, all that was sold, by how many orders."""
    if len(venues) == 1:
        return venues[0].buy, venues[0].sell, venues[0].count
    buy, sell, count = Decimal(0), Decimal(0), 0
    for part in venues:
        buy, sell = EXACT.add(buy, part.buy), EXACT.add(sell, part.sell)
        count += part.count
    return trimmed(buy), trimmed(sell), count


def only(venues: Venues) -> str:
    """The one venue's name; empty where there are several, or none."""
    return venues[0].venue if len(venues) == 1 else ""
