"""Fills as they are told, live or by REST, to legs of trips."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from flowd.market import EXACT, Fill, number
from flowd_leaderboard.chain import Leg

MAIN_TOKEN: Final = "USDC"
"""The collateral of all perpetuals of Hyperliquid's own market."""
TOKENS: Final = frozenset({"USDC", "USDE", "USDH", "USDT0"})
"""Those of markets that others built, named `dex:COIN`: their fees are paid in their own."""
TIME_MIN_MS, TIME_MAX_MS = 10**12, 10**14

_ZERO = Decimal(0)
_SPOT_DIRECTIONS = frozenset({"Buy", "Sell", "Spot Dust Conversion"})
_NUMBERED = re.compile(r"h:[0-9]+:.+:([0-9]+):0x[0-9a-f]{40}", re.ASCII)


def is_spot(symbol: str, direction: str) -> bool:
    """Whether a fill moved no position."""
    return direction in _SPOT_DIRECTIONS or symbol.startswith("@") or "/" in symbol


def of_fill(fill: Fill) -> Leg | None:
    """The leg that a fill is; None for one of a spot market, or that does not tell the position
    before it.
    """
    start = fill.start_position
    if start is None or is_spot(fill.symbol, fill.dir):
        return None
    numbered = _NUMBERED.fullmatch(fill.id)
    return Leg(
        fill.time_ms,
        numbered[1] if numbered else fill.id,
        start,
        fill.quantity if fill.side == "BUY" else -fill.quantity,
        fill.pnl,
        _counted(fill.symbol, fill.fee, fill.fee_token),
        fill.notional,
    )


def of_row(row: Mapping[str, Any]) -> tuple[str, Leg] | None:
    """The coin and leg that a row of `userFillsByTime` is; None for one of a spot market.

    ValueError for what is no fill.
    """
    try:
        coin, time_ms, side = row["coin"], row["time"], row["side"]
        price, quantity = number(row["px"]), number(row["sz"])
        start, pnl = number(row["startPosition"]), number(row["closedPnl"])
        fee, token = number(row.get("fee", "0")), row.get("feeToken") or MAIN_TOKEN
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no fill: {error!r:.60}") from None
    if not isinstance(coin, str) or not 0 < len(coin) <= 64 or side not in ("A", "B"):
        raise ValueError(f"no fill of a coin: {coin!r:.60} {side!r:.10}")
    if type(time_ms) is not int or not TIME_MIN_MS <= time_ms < TIME_MAX_MS:
        raise ValueError(f"no time: {time_ms!r:.30}")
    if is_spot(coin, str(row.get("dir", ""))):
        return None
    if price <= 0 or quantity <= 0:
        raise ValueError(f"no positive amounts: {price} {quantity}")
    size = quantity if side == "B" else -quantity
    # Fills of 2023 have no number.
    tid = row.get("tid")
    name = str(tid) if tid else f"{row.get('oid')}:{start}:{size}:{price}"
    notional = EXACT.multiply(price, quantity)
    return coin, Leg(time_ms, name, start, size, pnl, _counted(coin, fee, token), notional)


def newest_ms(rows: Iterable[Any]) -> int:
    """The newest time in rows of fills, spot or not; 0 without any."""
    times = [row.get("time") for row in rows if isinstance(row, dict)]
    return max((time for time in times if type(time) is int and time < TIME_MAX_MS), default=0)


def _counted(symbol: str, fee: Decimal, token: str) -> Decimal:
    collateral = token in TOKENS if ":" in symbol else token == MAIN_TOKEN
    return fee if collateral else _ZERO
