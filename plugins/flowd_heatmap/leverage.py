"""The assumed mix of leverage: `5:15,10:30,25:25,50:20,100:10`.

No venue publishes the real one. Source: domain/heatmap.md, section 3.3.
"""

import re
from decimal import Decimal

from attrs import frozen

from flowd_heatmap.brackets import MATH

DEFAULT = "5:15,10:30,25:25,50:20,100:10"
TIERS_MAX = 16
_TIER = re.compile(r"\s*([0-9]{1,4})\s*:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*", re.ASCII)


@frozen
class Tier:
    """One leverage, and its share of what is opened."""

    leverage: int
    weight: Decimal


def parse(text: str) -> tuple[Tier, ...]:
    """The tiers, by leverage, their weights normalised to a sum of 1. ValueError names the mistake.

    A tier without weight is left out: nothing is opened with it.
    """
    found: dict[int, Decimal] = {}
    for part in text.split(","):
        match = _TIER.fullmatch(part)
        if match is None:
            raise ValueError(f'"{part.strip():.40}": expected leverage:weight, such as 25:25')
        leverage, weight = int(match[1]), Decimal(match[2])
        if leverage < 1:
            raise ValueError(f"{leverage}: leverage is 1 or more")
        if leverage in found:
            raise ValueError(f"{leverage}x is there twice")
        found[leverage] = weight
    if len(found) > TIERS_MAX:
        raise ValueError(f"{len(found)} tiers: expected at most {TIERS_MAX}")
    total = sum(found.values(), Decimal(0))
    if not total:
        raise ValueError("all weights are 0: nothing would ever be opened")
    return tuple(
        Tier(leverage, MATH.divide(weight, total))
        for leverage, weight in sorted(found.items())
        if weight
    )
