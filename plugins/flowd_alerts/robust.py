"""How unusual a value is against those before it: a z-score that outliers cannot bend.

The modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, ASQC Basic
References in Quality Control, volume 16, 1993):

    M = 0.6745 * (x - median) / MAD

where MAD is the median of |x_i - median|. For normal data MAD is 0.6745 standard deviations, so M
reads like a z-score. They call a value a possible outlier when |M| > 3.5.

With a MAD of zero (more than half of the values are the same) the mean absolute deviation takes its
place, which for normal data is sqrt(2 / pi) = 0.7979 standard deviations:

    M = 0.7979 * (x - median) / MeanAD

When that is zero too, all values are the same: there is nothing to measure by, and no score.

Liquidated amounts are skewed to the right and span orders of magnitude, so that on the amounts
themselves a common large one would count as an outlier. By default x is therefore the natural
logarithm of the amount, where their distribution is about symmetrical.
"""

import math
from collections.abc import Iterable
from decimal import Decimal
from statistics import fmean, median

from attrs import frozen

MAD_FACTOR = 0.6745
MEAN_AD_FACTOR = math.sqrt(2 / math.pi)
SPREAD_MIN = 1e-12
"""A spread below this, relative to the centre, is rounding and no spread."""


@frozen
class Usual:
    """What is usual of some amounts. `median` is of the amounts, also where logarithms count."""

    count: int
    median: Decimal
    centre: float
    mad: float
    mean_ad: float
    log: bool

    def z(self, amount: Decimal) -> float | None:
        """How far an amount is from what is usual; None when there is nothing to measure by."""
        if amount <= 0 and self.log:
            return None
        away = _scale(amount, self.log) - self.centre
        rounding = SPREAD_MIN * max(1.0, abs(self.centre))
        if self.mad > rounding:
            return MAD_FACTOR * away / self.mad
        if self.mean_ad > rounding:
            return MEAN_AD_FACTOR * away / self.mean_ad
        return None


def usual(amounts: Iterable[Decimal], *, log: bool = True) -> Usual | None:
    """What is usual of these amounts. Those of zero are left out; None when that leaves none."""
    kept = [amount for amount in amounts if amount > 0]
    if not kept:
        return None
    scaled = [_scale(amount, log) for amount in kept]
    centre = median(scaled)
    away = [abs(x - centre) for x in scaled]
    return Usual(len(kept), median(kept), centre, median(away), fmean(away), log)


def _scale(amount: Decimal, log: bool) -> float:
    return math.log(amount) if log else float(amount)
