"""An account's equity over time in little memory: new samples are kept, old ones grow sparse."""

from decimal import Decimal

from flowd.market import trimmed

POINTS_MAX = 32
"""Samples of one account. When there are more, every second one of the older half goes."""


def grown(points: str, time_ms: int, equity: Decimal) -> str:
    """These points, and a newer one."""
    kept = points.split()
    kept.append(f"{time_ms}:{trimmed(equity):f}")
    if len(kept) > POINTS_MAX:
        half = POINTS_MAX // 2
        # The first one stays: the account's life is shown from where it is known.
        kept[1:half] = kept[2:half:2]
    return " ".join(kept)
