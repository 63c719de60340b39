"""What Hydromancer says, for the tests of its source: rows, blocks, and scripts of the service."""

import json
from pathlib import Path
from typing import Any

from flowd_hydromancer import Config, fills

from flowd import testing
from flowd.plugin import Secret, unwrap

UPSTREAM = Path(__file__).parents[1] / "frames"
KEY = "hm-5e/cr+et key&0451"
URL = "wss://api.hydromancer.xyz/ws"
WHALE = "0x" + "aa" * 20
MAKER = "0x" + "bb" * 20
THIRD = "0x" + "cc" * 20
T0 = 1_790_000_000_000

CONNECTED = '{"type":"connected","clientId":"abc","sessionId":"session-0001"}'
RECONNECTED = '{"type":"reconnected","sessionId":"session-0001"}'


def config(subscription: Any = "allFills", **options: Any) -> Config:
    """The settings of a source with the key."""
    return Config(subscription, Secret("a test", KEY), **options)


ALL = config()
LIQUIDATIONS = config("liquidationFills")


def frames(name: str) -> list[str]:
    """The lines of a recorded file."""
    return (UPSTREAM / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()


def row(number: int = 0, address: str = WHALE, **changes: Any) -> list[Any]:
    """The nth row, of a trade of its own unless `tid` says otherwise; None takes a field out."""
    fill = {
        "coin": "BTC",
        "px": "84500.0",
        "sz": "0.5",
        "side": "B",
        "time": T0 + number,
        "startPosition": "0.0",
        "dir": "Open Long",
        "closedPnl": "0.0",
        "hash": "0x" + "1f" * 32,
        "oid": 481702553903 + number,
        "crossed": True,
        "fee": "14.7875",
        "tid": 1000 + number,
        "feeToken": "USDC",
        "twapId": None,
    } | changes
    return [address, {name: value for name, value in fill.items() if value is not None}]


def stamp(address: str = WHALE, **changes: Any) -> dict[str, Any]:
    """What a row says of the liquidation that it was part of."""
    return {"liquidatedUser": address, "markPx": "84490.5", "method": "market"} | changes


def liquidated(number: int = 0, address: str = WHALE, **changes: Any) -> list[Any]:
    """The row of an account whose long was closed by force."""
    told = {"side": "A", "dir": "Close Long", "liquidation": stamp(address)}
    return row(number, address, **{**told, **changes})


def counterparty(number: int = 0, address: str = MAKER, **changes: Any) -> list[Any]:
    """The other side of `liquidated(number)`."""
    told = {"side": "B", "dir": "Open Long", "crossed": False, "liquidation": stamp()}
    return row(number, address, **{**told, **changes})


def block(seq: int | None, *rows: Any, feed: str = "allFills", **more: Any) -> str:
    """A message with these rows."""
    said = {"type": feed, "channel": feed, "seq": seq, "cursor": cursor(seq), "fills": rows}
    told = {name: value for name, value in (said | more).items() if value is not None}
    return json.dumps(told)


def cursor(seq: int | None) -> str:
    """The cursor of a block."""
    return f"{500 + (seq or 0)}:{T0 + (seq or 0)}:3"


def forced(seq: int | None, *rows: Any, **more: Any) -> str:
    """A message of the feed of liquidations."""
    return block(seq, *rows, feed="liquidationFills", **more)


def replay(*rows: Any, feed: str = "allFills", **more: Any) -> str:
    """Missed rows in one frame."""
    said = {"channel": feed, "data": rows, "count": len(rows), "hasGap": False} | more
    return json.dumps({"type": "replay", **said})


def acknowledged(feed: str = "allFills", failed: Any = ()) -> str:
    """The answer to a subscription."""
    told = {"subscribed": [] if failed else [feed], "failed": failed, "unsubscribed": []}
    return json.dumps({"type": "subscriptionUpdate", **told})


def error(message: Any, **more: Any) -> str:
    """An error message."""
    return json.dumps({"type": "error", "message": message, **more})


ACCEPTS = testing.says(CONNECTED) + testing.hears() + testing.says(acknowledged())
"""Welcomes, waits for the subscription, and acknowledges it."""
ACCEPTS_LIQUIDATIONS = (
    testing.says(CONNECTED) + testing.hears() + testing.says(acknowledged("liquidationFills"))
)


async def failure(settings: Config, feed: Any) -> BaseException:
    """What the source dies of."""
    try:
        await fills(settings, feed)
    except Exception as died:
        return unwrap(died)
    raise AssertionError("the source ended by itself")
