"""Accounts as the exchange tells of them: clearinghouse states, fills and portfolios."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from flowd_simulator.chain.accounts import Account, Marks
from flowd_simulator.chain.coins import Coin, amount, money
from flowd_simulator.chain.positions import Position, liquidation_price
from flowd_simulator.chain.series import Point
from flowd_simulator.intervals import DAY_MS

Json = dict[str, Any]  # Any: JSON
PERIODS_MS = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS, "allTime": None}


def state(account: Account | None, dex: str, marks: Marks, time_ms: int, padding: int = 0) -> Json:
    """What an account has on one dex. Builders' dexes have isolated positions only, and so no
    money but what is in them; nobody has nothing.
    """
    if account is None:
        nothing = _summary(0, 0, 0, 0)
        return _state(nothing, nothing, 0, 0, [], time_ms)
    held = [(coin, position) for coin, position in account.open() if coin.dex == dex]
    equity, margin, maintenance = (0, 0, 0) if dex else account.shared(marks)
    cash = 0 if dex else account.cash
    cross = [marks[coin.name] * one.steps for coin, one in held if not one.isolated]
    every = [marks[coin.name] * one.steps for coin, one in held]
    purses = sum(one.purse for _, one in held)
    used = sum(one.margin(marks[coin.name]) for coin, one in held)
    rows = [_position(account, coin, one, marks) for coin, one in held]
    if rows:
        rows += islice(_padded(rows), padding)
    return _state(
        _summary(cash + purses + sum(every), sum(map(abs, every)), cash + purses, used),
        _summary(equity, sum(map(abs, cross)), cash, margin),
        maintenance,
        max(0, equity - margin),
        rows,
        time_ms,
    )


def _state(
    whole: Json, cross: Json, maintenance: int, free: int, rows: list[Json], time_ms: int
) -> Json:
    return {
        "marginSummary": whole,
        "crossMarginSummary": cross,
        "crossMaintenanceMarginUsed": money(maintenance),
        "withdrawable": money(free),
        "assetPositions": rows,
        "time": time_ms,
    }


def _summary(equity: int, notional: int, cash: int, margin: int) -> Json:
    return {
        "accountValue": money(equity),
        "totalNtlPos": money(notional),
        "totalRawUsd": money(cash),
        "totalMarginUsed": money(margin),
    }


def _position(account: Account, coin: Coin, position: Position, marks: Marks) -> Json:
    worth = marks[coin.name]
    value, unrealised = position.value(worth), position.unrealised(worth)
    price = worth / coin.micro / 10**coin.price_decimals
    reached = liquidation_price(position, price, value, account.available(coin, marks))
    entry = position.cost / position.steps / coin.micro
    leverage: Json = {"type": "cross", "value": position.leverage}
    if position.isolated:
        leverage = {**leverage, "type": "isolated", "rawUsd": money(position.purse)}
    invested = abs(position.cost) / position.leverage
    return {
        "type": "oneWay",
        "position": {
            "coin": coin.name,
            "szi": coin.size_text(position.steps),
            "leverage": leverage,
            "entryPx": amount(round(entry * 100), coin.price_decimals + 2),
            "positionValue": money(abs(value)),
            "unrealizedPnl": money(unrealised),
            "returnOnEquity": amount(round(unrealised / invested * 1e10), 10),
            "liquidationPx": None if reached is None else amount(round(reached * 1e9), 9),
            "marginUsed": money(position.margin(worth)),
            "maxLeverage": position.leverage_max,
            "cumFunding": {
                "allTime": money(position.funding),
                "sinceOpen": money(position.funding_open),
                "sinceChange": money(position.funding_change),
            },
        },
    }


def _padded(rows: list[Json]) -> Iterator[Json]:
    """The first position again and again, each time of another coin."""
    number = 0
    while True:
        number += 1
        yield {**rows[0], "position": {**rows[0]["position"], "coin": f"PAD{number}"}}


def fills(account: Account | None, start_ms: int, end_ms: int, most: int) -> list[Json]:
    """An account's newest fills within these times (both included), newest first."""
    rows = account.rows if account is not None else deque[bytes]()
    found: list[Json] = []
    for row in reversed(rows):
        _, fill = msgspec.json.decode(row)
        if start_ms <= fill["time"] <= end_ms:
            del fill["txIndex"]
            found.append(fill)
        if len(found) == most:
            break
    return found


def fills_from(account: Account | None, start_ms: int, end_ms: int, most: int) -> list[Json]:
    """The same, but the oldest that fit, for who reads on from the last time; newest first."""
    return fills(account, start_ms, end_ms, -1)[-most:]


def portfolio(account: Account | None, now: Point | None) -> list[Any]:
    """The history of an account's worth in the exchange's periods."""
    periods = []
    for perp in False, True:
        for name, span_ms in PERIODS_MS.items():
            points: list[Point] = []
            if account is not None and now is not None:
                since_ms = 0 if span_ms is None else now.time_ms - span_ms
                points = [*account.series.since(since_ms), now]
            label = f"perp{name[0].upper()}{name[1:]}" if perp else name
            periods.append([label, _period(points, perp=perp, whole=span_ms is None)])
    return periods


def _period(points: list[Point], *, perp: bool, whole: bool) -> Json:
    volumes = [point.perp_volume if perp else point.volume for point in points]
    began = 0 if whole or not points else volumes[0]
    first = points[0].profit if points else 0
    return {
        "accountValueHistory": [[point.time_ms, money(point.equity)] for point in points],
        "pnlHistory": [[point.time_ms, money(point.profit - first)] for point in points],
        "vlm": money(volumes[-1] - began if points else 0),
    }
