"""The words of `/ws/heatmap` and of the polled map: pure functions.

Source: domain/heatmap.md, sections 7.1 and 7.2.
"""

from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flowd.market import LiquidationMap
from flowd.plugin import BadRequest, Batch, codec
from flowd_heatmap.records import MapModel, Score

MEMORY = 64
"""Messages of one symbol that are remembered, so that a late reader's counters are right."""
CODES = {
    "INVALID_SYMBOL": "INVALID_SYMBOL",
    "INVALID_ACTION": "INVALID_ACTION",
    "INVALID_MESSAGE": "INVALID_MESSAGE",
    "TOO_MANY_MESSAGES": "RATE_LIMITED",
    "TOO_MANY_FILTERS": "RATE_LIMITED",
}
"""Flowd's codes of mistakes, in the words of this protocol."""


def iso(time_ms: int) -> str:
    """A time as this protocol writes it."""
    made = datetime.fromtimestamp(time_ms / 1000, UTC)
    return made.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace(
        "+00:00", "Z"
    )


def number(value: Decimal | None) -> int | float | None:
    """A decimal as a JSON number."""
    if value is None:
        return None
    nearest = float(value)
    if not nearest.is_integer():
        return nearest
    whole = int(value)
    return whole if whole == value else nearest


def snapshot(
    told: LiquidationMap, position: str | None = None, counts: tuple[int, int] | None = None
) -> dict[str, Any]:
    """A map as the protocol tells it; `counts` are cohorts created and consumed since the one that
    this reader was sent before, by default since the one published before.
    """
    created, consumed = counts or (told.created, told.consumed)
    data: dict[str, Any] = {
        "levels": [
            {
                "price": number(level.price),
                "long_density": number(level.long),
                "short_density": number(level.short),
            }
            for level in told.levels
        ],
        "current_price": number(told.mark_price),
        "positions_created": created,
        "positions_consumed": consumed,
        "source": told.source,
        "bin": number(told.bin),
        "history_from": told.history_from_ms,
        "side_model": told.side_model or None,
        "oi_missing": told.oi_missing,
        "outside_long": number(told.outside_long),
        "outside_short": number(told.outside_short),
        "venue": told.venue,
    }
    if told.source == "observed":
        data |= {
            "coverage": told.coverage,
            "oi_sides": told.oi_sides,
            "accounts": told.accounts,
            "unplaced": number(told.unplaced),
            "derived": told.derived,
        }
    said = {"type": "snapshot", "symbol": told.symbol, "timestamp": iso(told.time_ms)}
    if position is not None:
        said["position"] = position
    return {**said, "data": data}


def brief(told: LiquidationMap) -> dict[str, Any]:
    """One map among others, without its levels."""
    return {
        "symbol": told.symbol,
        "venue": told.venue,
        "source": told.source,
        "timestamp": iso(told.time_ms),
        "current_price": number(told.mark_price),
        "bin": number(told.bin),
        "levels": len(told.levels),
        "history_from": told.history_from_ms,
        "side_model": told.side_model or None,
        "coverage": told.coverage,
        "oi_missing": told.oi_missing,
    }


def score(told: Score) -> dict[str, Any]:
    """How well the map of one symbol knew what happened."""
    return {
        "since": told.since_ms,
        "events": told.events,
        "dropped": told.dropped,
        "lift": told.lift,
        "low": told.low,
        "high": told.high,
    }


def model(told: MapModel) -> dict[str, Any]:
    """What the map of one symbol is made with."""
    half_life_ms = told.half_life_ms
    return {
        "since": told.since_ms,
        "side_model": told.side_model,
        "leverage": [
            {"leverage": tier.leverage, "share": number(tier.weight)} for tier in told.leverage
        ],
        "typical_notional": number(told.typical_notional),
        "brackets": told.brackets,
        "brackets_assumed": told.brackets_assumed,
        "half_life_s": None if half_life_ms is None else half_life_ms / 1000,
        "positions_for_s": told.positions_for_ms / 1000,
        "backfill_days": told.backfill_days,
        "span_pct": told.span_pct,
    }


class Snapshots:
    """Batches of maps as messages: what one pace's clients are sent.

    The counters of a map are since the map that its reader was sent before. What that was follows
    from where the reader was, for this remembers what it worded.
    """

    def __init__(self) -> None:
        self._worded: dict[tuple[str, str], deque[tuple[int, int, int]]] = {}

    def __call__(self, batch: Batch[LiquidationMap]) -> list[bytes]:
        """The messages of a batch."""
        made = [unstable("the daemon began anew", batch.stream)] if batch.reset else []
        if batch.gap is not None:
            missed = batch.gap.last - batch.gap.first + 1
            made.append(unstable(f"{missed} records are gone", batch.stream, missed))
        epoch = batch.position.epoch
        for record in batch.records:
            told = record.value
            worded = self._worded.setdefault((batch.stream, told.symbol), deque(maxlen=MEMORY))
            counts = None
            if not batch.first and (told.created_ever or told.consumed_ever):
                counts = self._since(worded, told, batch.after)
            if not worded or record.seq > worded[-1][0]:
                worded.append((record.seq, told.created_ever, told.consumed_ever))
            made.append(codec.encode(snapshot(told, f"{epoch}.{record.seq}", counts)))
        return made

    def _since(
        self, worded: deque[tuple[int, int, int]], told: LiquidationMap, after: int
    ) -> tuple[int, int] | None:
        for seq, created, consumed in reversed(worded):
            if seq <= after:
                return told.created_ever - created, told.consumed_ever - consumed
        return None


def pong(now_ms: int) -> bytes:
    """The answer to a ping."""
    return codec.encode({"type": "pong", "timestamp": iso(now_ms)})


def slow(stream: str, behind: int) -> bytes:
    """Said to who was stalled for a second."""
    return codec.encode(
        {
            "type": "warning",
            "code": "SLOW_CONSUMER",
            "message": "you read too slowly: maps were left out, the newest follows",
            "dropped_messages": behind,
        }
    )


def unstable(why: str, stream: str, missed: int | None = None) -> bytes:
    """Said where what follows does not continue what was sent before."""
    said: dict[str, Any] = {
        "type": "warning",
        "code": "CONNECTION_UNSTABLE",
        "message": f"{stream}: {why}; the newest maps follow",
    }
    if missed is not None:
        said["dropped_messages"] = missed
    return codec.encode(said)


def error(mistake: BadRequest) -> bytes:
    """What a client did wrong, and what would have been right."""
    code = CODES.get(mistake.code, "INVALID_MESSAGE" if mistake.status < 500 else "SERVER_ERROR")
    return codec.encode({"type": "error", **mistake.body(), "code": code})
