"""Everything the service says, as text."""

import json
from typing import Any

from flowd_simulator.chain.rows import Block
from flowd_simulator.hydromancer.wish import Wish

CHUNKED = "chunked-v1"
AUTHENTICATION_FAILED = "authentication failed"
AUTHENTICATION_TIMEOUT = "authentication timeout"
CONNECTION_LIMIT = "connection limit reached"
MESSAGE_RATE = "message rate limit exceeded"
NO_PERMISSION = "requires permission ws:allFills"
SESSION_UNKNOWN = "session not found or expired"
SUBSCRIPTION_LIMIT = "total subscription limit reached"
TOO_MANY_COINS = "too many coins"


def say(kind: str, **members: Any) -> str:
    """A message of this type; what is None is left out."""
    told = {name: value for name, value in members.items() if value is not None}
    return json.dumps({"type": kind, **told}, separators=(",", ":"))


def connected(client: str, session: str, *, resumed: bool, chunked: bool) -> str:
    """The first message of a connection."""
    format = CHUNKED if chunked else None
    if resumed:
        return say("reconnected", sessionId=session, liveFormat=format)
    return say("connected", clientId=client, sessionId=session, liveFormat=format)


def update(form: str, *, subscribed: str = "", failed: str = "", unsubscribed: str = "") -> str:
    """An acknowledgement, with the names of feeds as texts or as objects."""

    def entries(feed: str) -> list[Any]:
        return [] if not feed else [feed] if form == "names" else [{"type": feed}]

    return say(
        "subscriptionUpdate",
        subscribed=entries(subscribed),
        failed=entries(failed),
        unsubscribed=entries(unsubscribed),
    )


def error(message: str, feed: str | None = None) -> str:
    """An error, about a feed or the connection."""
    code = "subscription_limit_exceeded" if "subscription limit" in message else None
    return say("error", message=message, code=code, subscription=feed)


def limit(feed: str) -> str:
    """What is said when a key has as many subscriptions of a feed as it may."""
    return f"subscription limit reached for {feed}"


def rows(
    wish: Wish, block: Block, seq: int, rows: list[bytes], part: tuple[int, int] | None = None
) -> str:
    """The rows of a block; `part` is (number, all) where the block comes in parts."""
    head = f'{{"type":"{wish.feed}","channel":"{wish.feed}","seq":{seq},"cursor":"{block.cursor}"'
    if part is not None:
        head += f',"chunk":{part[0]},"totalChunks":{part[1]},"batchId":{block.number}'
    return f'{head},"fills":[{b",".join(rows).decode()}]}}'


def replay(wish: Wish, cursor: str, rows: list[bytes], *, gap: bool) -> str:
    """What was missed, in one frame."""
    return (
        f'{{"type":"replay","channel":"{wish.feed}","data":[{b",".join(rows).decode()}],'
        f'"cursor":"{cursor}","count":{len(rows)},"hasGap":{str(gap).lower()}}}'
    )


def replay_header(wish: Wish, cursor: str, count: int, *, gap: bool) -> str:
    """The announcement of so many ordinary messages."""
    return say("replay", channel=wish.feed, cursor=cursor, count=count, hasGap=gap)
