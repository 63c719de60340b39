"""Markets as the exchange tells of them: what is listed, and how each stands."""

from typing import Any, Final

from flowd_simulator.chain.coins import COINS, PERPETUALS, Coin, amount, money
from flowd_simulator.chain.tape import Tape
from flowd_simulator.intervals import DAY_MS, HOUR_MS
from flowd_simulator.noise import key, signed

Json = dict[str, Any]  # Any: JSON
DELISTED: Final = ("MATIC", 1, 20)
"""Once listed on the main dex: stays in the list, with nothing in it."""
DEXES: Final = tuple(dict.fromkeys(coin.dex for coin in PERPETUALS if coin.dex))


def listed(dex: str) -> list[Coin]:
    """The perpetuals of a dex, in the order of their numbers."""
    return [coin for coin in PERPETUALS if coin.dex == dex]


def meta(dex: str) -> Json:
    """What is listed on a dex."""
    universe: list[Json] = []
    for coin in listed(dex):
        one: Json = {
            "szDecimals": coin.size_decimals,
            "name": coin.name,
            "maxLeverage": coin.leverage_max,
            "marginTableId": coin.leverage_max,
        }
        universe.append({**one, "onlyIsolated": True} if dex else one)
    if not dex:
        name, decimals, leverage = DELISTED
        old = {"szDecimals": decimals, "name": name, "maxLeverage": leverage}
        universe.append({**old, "marginTableId": leverage, "isDelisted": True})
    return {"universe": universe, "marginTables": [], "collateralToken": 0}


def spot_meta() -> Json:
    """What is listed of spot."""
    tokens: list[Json] = [{"name": "USDC", "szDecimals": 8, "weiDecimals": 8, "index": 0}]
    universe: list[Json] = []
    for number, coin in enumerate(_pairs(), 1):
        decimals = coin.size_decimals
        tokens.append(
            {"name": coin.base, "szDecimals": decimals, "weiDecimals": 8, "index": number}
        )
        index = int(coin.name[1:]) if coin.name.startswith("@") else 0
        pair: Json = {"name": coin.name, "tokens": [number, 0], "index": index}
        universe.append({**pair, "isCanonical": not coin.name.startswith("@")})
    return {"tokens": tokens, "universe": universe}


def _pairs() -> list[Coin]:
    return [coin for coin in COINS if coin.spot and not coin.name.startswith("#")]


def contexts(tape: Tape, dex: str, time_ms: int) -> list[Json]:
    """How each perpetual of a dex stands, in the order of `meta`."""
    found = [context(tape, coin, time_ms) for coin in listed(dex)]
    return found if dex else [*found, _dead()]


def context(tape: Tape, coin: Coin, time_ms: int) -> Json:
    """How a market stands."""
    ticks = tape.prices.mark(coin, time_ms)
    price, text = ticks / 10**coin.price_decimals, coin.price_text
    before = text(tape.prices.mark(coin, time_ms - DAY_MS))
    steps, value = tape.turnover.day(coin)
    ctx: Json = {
        "prevDayPx": before,
        "dayNtlVlm": money(value),
        "markPx": text(ticks),
        "midPx": text(ticks),
        "dayBaseVlm": coin.size_text(steps),
    }
    if coin.spot:
        return ctx
    premium = 0.0003 * signed(key("premium", coin.name), time_ms // 1000)
    return {
        "funding": amount(round(tape.prices.funding(coin, time_ms // HOUR_MS) * 1e10), 10),
        "openInterest": coin.size_text(tape.turnover.interest[coin.name]),
        **ctx,
        "premium": amount(round(premium * 1e10), 10),
        "oraclePx": text(coin.ticks(price / (1 + premium))),
        "impactPxs": [text(max(1, ticks - 1)), text(ticks + 1)],
    }


def _dead() -> Json:
    nothing = {name: "0.0" for name in ("funding", "openInterest", "dayNtlVlm", "dayBaseVlm")}
    prices = {"prevDayPx": "0.37621", "oraclePx": "0.3754", "markPx": "0.37621"}
    return {**nothing, **prices, "premium": None, "midPx": None, "impactPxs": None}


def mids(tape: Tape, dex: str, time_ms: int) -> dict[str, str]:
    """All prices of a dex; spot is with the main one."""
    coins = [coin for coin in COINS if coin.dex == dex]
    return {coin.name: coin.price_text(tape.prices.mark(coin, time_ms)) for coin in coins}
