"""What Hyperliquid says of its trades, for the tests of discovery: trades, messages, and a scripted
exchange that confirms subscriptions.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import flowd_hyperliquid
import trio
import trio_websocket
from flowd_hyperliquid.discovery import Config, discover

from flowd import testing
from flowd.market import Trade
from flowd.plugin import unwrap
from flowd.traders import Trader

FRAMES = Path(__file__).parents[1] / "frames"
REGISTRY = testing.registry(flowd_hyperliquid)
TOML = """
[sources.traders]
kind = "hyperliquid-discovery"
coins = ["BTC"]
"""
T0 = testing.START_MS


def frames(name: str) -> list[str]:
    """The lines of a recorded file."""
    return (FRAMES / f"hyperliquid_ws_{name}.jsonl").read_text(encoding="utf-8").splitlines()


def account(number: int) -> str:
    """The address of the nth account."""
    return f"0x{number:040x}"


def sent(number: int = 0, **changes: Any) -> dict[str, Any]:
    """The nth trade, 100 ms after the one before; None takes a field out."""
    trade = {
        "coin": "BTC",
        "side": "B",
        "px": "100.0",
        "sz": "2.5",
        "time": T0 + 100 * number,
        "hash": "0x" + "0" * 64,
        "tid": 1000 + number,
        "users": [account(1), account(2)],
    } | changes
    return {name: value for name, value in trade.items() if value is not None}


def told(*trades: Any) -> str:
    """A message with these trades."""
    return json.dumps({"channel": "trades", "data": trades})


def echoed(coin: str = "BTC", **more: Any) -> str:
    """The confirmation of a subscription, with what upstream adds to it."""
    subscription = {"type": "trades", "coin": coin, **more}
    data = {"method": "subscribe", "subscription": subscription}
    return json.dumps({"channel": "subscriptionResponse", "data": data})


def refused(coin: str) -> str:
    """The error for a coin that is none."""
    embedded = json.dumps({"type": "trades", "coin": coin})
    return json.dumps({"channel": "error", "data": f"Invalid subscription {embedded}"})


PONG = '{"channel":"pong"}'


def exchange(
    old: Mapping[str, Iterable[Any]] | None = None,
    *,
    refuses: Iterable[str] = (),
    ignores: Iterable[str] = (),
    pongs: bool = True,
) -> testing.Script:
    """From here on confirms each subscription, and answers pings, with the `old`
    trades of its coin behind the echo.
    """
    bad, ignored = set(refuses), set(ignores)
    before = {coin: list(trades) for coin, trades in (old or {}).items()}

    async def play(connection: testing.Connection) -> None:
        async def reply(text: str) -> None:
            message = json.loads(text)
            if message["method"] == "ping":
                if pongs:
                    await connection.say(PONG)
                return
            coin = message["subscription"]["coin"]
            if coin in bad:
                await connection.say(refused(coin))
            elif coin not in ignored:
                await connection.say(echoed(coin))
                if coin in before:
                    await connection.say(told(*before[coin]))

        async def serve() -> None:
            with suppress(trio_websocket.ConnectionClosed):
                while True:
                    await reply(await connection.hear())

        trio.lowlevel.spawn_system_task(serve)
        await trio.lowlevel.checkpoint()

    return testing.plays(play)


def feed(*scripts: testing.Script, **options: Any) -> Any:
    """A feed for the source, with upstream's scripts."""
    return testing.feed(*scripts, record=Trader, **{"retain": 100_000, **options})


def trades(feed: Any) -> list[Trade]:
    """The trades that were published."""
    return [record.value for record in feed.tables["trades"].after(0)]


def numbers(feed: Any) -> list[int]:
    """The numbers of the trades that were published."""
    return [int(trade.id.rpartition(":")[2]) - 1000 for trade in trades(feed)]


async def failure(settings: Config, feed: Any) -> BaseException:
    """What the source dies of."""
    try:
        await discover(settings, testing.streams(), feed)
    except Exception as died:
        return unwrap(died)
    raise AssertionError("the source ended by itself")
