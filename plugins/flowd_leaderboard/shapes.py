"""Traders, events and rankings as the documented endpoints word them: pure functions.

The names are those of domain/leaderboard.md, section 6. Amounts are JSON numbers, in quote units;
whoever needs exact ones reads the streams.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flowd.market import Fill
from flowd.plugin import BadRequest, Batch, codec
from flowd.traders import Account, Equity, OpenPosition, PositionEvent, Round, Standing, Trader


def iso(time_ms: int | None) -> str | None:
    """`2026-11-14T22:13:21.000Z`."""
    if time_ms is None:
        return None
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def amount(value: Decimal | None) -> float | None:
    """An amount as a JSON number, with at most 8 decimals."""
    return None if value is None else round(float(value), 8)


# -- the leaderboard --

SORTS: dict[str, Callable[[Standing], Any]] = {
    "trader_score": lambda one: one.score,
    "rank": lambda one: one.rank,
    "win_rate": lambda one: one.win_rate,
    "total_volume_usd": lambda one: one.volume,
    "account_age_days": lambda one: one.account_age_days,
    "avg_risk_ratio": lambda one: one.risk_ratio,
    "max_drawdown": lambda one: one.max_drawdown,
    "max_profit_usd": lambda one: one.max_profit,
    "max_loss_usd": lambda one: one.max_loss,
    "trips": lambda one: one.trips,
    "partial_trips": lambda one: one.partial_trips,
    "equity_usd": lambda one: one.equity,
    "unrealized_pnl_usd": lambda one: one.unrealized_pnl,
    "last_seen_at": lambda one: one.last_seen_ms,
    "updated_at": lambda one: one.time_ms,
    "trader_address": lambda one: one.address,
}
"""What the leaderboard can be sorted by, and by which figure; the first is the default."""
ORDERS = ("desc", "asc")


def sorted_by(rows: Iterable[Standing], sort_by: str, order: str, limit: int) -> list[Standing]:
    """The first `limit` of these in an order. What is unknown comes last in both, and equal ones
    are in the order of their addresses.
    """
    figure = SORTS[sort_by]
    known: list[tuple[Any, Standing]] = []
    unknown: list[Standing] = []
    for row in rows:
        value = figure(row)
        if value is None:
            unknown.append(row)
        else:
            known.append((value, row))
    known.sort(key=lambda pair: pair[1].address)
    known.sort(key=lambda pair: pair[0], reverse=order == "desc")
    unknown.sort(key=lambda row: row.address)
    return ([row for _, row in known] + unknown)[:limit]


def standing(one: Standing) -> dict[str, Any]:
    """One row of the leaderboard."""
    shares = one.shares
    return {
        "rank": one.rank,
        "trader_address": one.address,
        "trader_score": one.score,
        "score_parts": None
        if shares is None
        else {
            "win_rate": round(shares.win_rate, 6),
            "total_volume_usd": round(shares.volume, 6),
            "max_drawdown": round(shares.max_drawdown, 6),
            "avg_risk_ratio": round(shares.risk_ratio, 6),
            "max_profit_usd": round(shares.max_profit, 6),
        },
        "win_rate": one.win_rate,
        "total_volume_usd": amount(one.volume),
        "account_age_days": one.account_age_days,
        "avg_risk_ratio": one.risk_ratio,
        "max_drawdown": one.max_drawdown,
        "max_profit_usd": amount(one.max_profit),
        "max_loss_usd": amount(one.max_loss),
        "trips": one.trips,
        "partial_trips": one.partial_trips,
        "equity_usd": amount(one.equity),
        "unrealized_pnl_usd": amount(one.unrealized_pnl),
        "sources": {
            "win_rate": one.win_rate_source,
            "total_volume_usd": one.volume_source,
            "account_age_days": one.account_age_source,
            "max_drawdown": one.max_drawdown_source,
        },
        "first_seen_at": iso(one.first_seen_ms),
        "last_seen_at": iso(one.last_seen_ms),
        "last_tracked_at": iso(one.tracked_ms),
        "updated_at": iso(one.time_ms),
    }


def leaderboard(rows: list[Standing], sort_by: str, order: str, limit: int) -> bytes:
    """The answer but for its end, which says of when it is."""
    chosen = sorted_by(rows, sort_by, order, limit)
    return codec.encode(
        {
            "leaderboard": [standing(row) for row in chosen],
            "count": len(chosen),
            "total": len(rows),
            "sort_by": sort_by,
            "order": order,
        }
    )[:-1]


def computed(time_ms: int | None, population: int, now_ms: int) -> bytes:
    """How such an answer ends: how many were compared, when, and how many seconds ago."""
    age = b"null" if time_ms is None else b"%.3f" % (max(now_ms - time_ms, 0) / 1000)
    at = codec.encode(iso(time_ms))
    return b',"population":%d,"updated_at":%b,"age_s":%b}\n' % (population, at, age)


# -- traders and what they do --


def trader(one: Trader, tracked_ms: int | None = None) -> dict[str, Any]:
    """One account that was seen to trade."""
    return {
        "address": one.address,
        "first_seen_at": iso(one.first_seen_ms),
        "last_seen_at": iso(one.last_seen_ms),
        "last_tracked_at": iso(tracked_ms),
        "observed_volume_usd": amount(one.volume),
        "trades": one.trades,
        "coins": list(one.symbols),
    }


def position(one: OpenPosition) -> dict[str, Any]:
    """One open position, and how far its liquidation is from the mark, as a fraction of it."""
    mark, liquidation = one.mark_price, one.liquidation_price
    distance = None
    if mark is not None and liquidation is not None and mark:
        distance = round(float(abs(mark - liquidation) / mark), 6)
    return {
        "coin": one.symbol,
        "side": "LONG" if one.size > 0 else "SHORT",
        "size": amount(one.size),
        "notional_usd": amount(one.notional),
        "entry_price": amount(one.entry_price),
        "mark_price": amount(mark),
        "liquidation_price": amount(liquidation),
        "liquidation_distance": distance,
        "unrealized_pnl_usd": amount(one.unrealized_pnl),
        "leverage": one.leverage,
        "margin": "isolated" if one.isolated else "cross",
        "margin_usd": amount(one.margin),
        "funding_usd": amount(one.funding),
    }


def account(one: Account) -> dict[str, Any]:
    """What an account was worth and held, as of its `time`."""
    return {
        "time": iso(one.time_ms),
        "equity_usd": amount(one.equity),
        "notional_usd": amount(one.notional),
        "margin_used_usd": amount(one.margin_used),
        "withdrawable_usd": amount(one.withdrawable),
        "positions": [position(held) for held in one.positions],
    }


def equity(one: Equity) -> list[dict[str, Any]]:
    """How an account's equity went, oldest first."""
    return [{"time": iso(at), "equity_usd": amount(value)} for at, value in one.samples]


def fill(one: Fill) -> dict[str, Any]:
    """One of its fills."""
    return {
        "time": iso(one.time_ms),
        "coin": one.symbol,
        "side": one.side,
        "action": one.dir,
        "price": amount(one.price),
        "size": amount(one.quantity),
        "notional_usd": amount(one.notional),
        "pnl_usd": amount(one.pnl),
        "fee": amount(one.fee),
        "fee_token": one.fee_token,
        "liquidation": one.role,
    }


def event(one: PositionEvent) -> dict[str, Any]:
    """One event, in the seed's envelope."""
    return {
        "id": one.id,
        "trader_address": one.address,
        "timestamp": iso(one.time_ms),
        "event_type": one.event,
        "details": {
            "coin": one.symbol,
            "side": one.side,
            "prev_size": amount(one.prev_size),
            "size": amount(one.size),
            "delta": amount(one.delta),
            "prev_entry_price": amount(one.prev_entry_price),
            "entry_price": amount(one.entry_price),
            "implied_price": amount(one.implied_price),
            "mark_price": amount(one.mark_price),
            "notional_usd": amount(one.notional),
            "from_time": iso(one.from_ms),
            "to_time": iso(one.time_ms),
            "detected_at": iso(one.detected_ms),
            "sampled": one.sampled,
            "liquidated": one.liquidated,
        },
    }


def stats(one: Round | None, now_ms: int, events: int) -> dict[str, Any]:
    """How far tracking has come; nothing but the events before it has begun."""
    if one is None:
        return {"traders_total": 0, "traders_tracked": 0, "traders_waiting": 0, "events": events}
    oldest_ms = one.oldest_tracked_ms
    return {
        "traders_total": one.traders,
        "traders_tracked": one.tracked,
        "traders_waiting": one.waiting,
        "events": events,
        "oldest_tracked_at": iso(oldest_ms),
        "oldest_tracked_age_s": None if oldest_ms is None else max(now_ms - oldest_ms, 0) / 1000,
        "round_s": one.round_s,
        "weight_used": one.weight_used,
        "weight_per_minute": one.weight_per_minute,
        "updated_at": iso(one.time_ms),
    }


# -- the live path --


def connected(now_ms: int) -> bytes:
    """The first message of a live connection."""
    return codec.encode(
        {
            "type": "connection",
            "message": "connected to position events",
            "timestamp": iso(now_ms),
        }
    )


def updates(batch: Batch[PositionEvent]) -> list[bytes]:
    """Events as messages, each with the position from which a client goes on after it."""
    epoch, made = batch.position.epoch, []
    if batch.reset:
        made.append(codec.encode({"type": "reset", "position": str(batch.position)}))
    if batch.gap is not None:
        missing = {"first": batch.gap.first, "last": batch.gap.last}
        made.append(
            codec.encode({"type": "gap", "gap": missing, "position": f"{epoch}.{batch.gap.last}"})
        )
    for record in batch.records:
        message = {
            "type": "trade_event",
            "data": event(record.value),
            "timestamp": iso(record.time_ms),
            "position": f"{epoch}.{record.seq}",
        }
        made.append(codec.encode(message))
    return made


def slow(stream: str, behind: int) -> bytes:
    """The warning for who was stalled."""
    return codec.encode({"type": "warning", "code": "SLOW_CONSUMER", "behind": behind})


def error(mistake: BadRequest) -> bytes:
    """What a client did wrong, and what would have been right."""
    return codec.encode({"type": "error", **mistake.body()})


def heartbeat(now_ms: int) -> bytes:
    """Said after half a minute without a message."""
    return codec.encode({"type": "heartbeat", "timestamp": iso(now_ms)})
