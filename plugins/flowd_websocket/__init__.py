"""A flowd sink: one WebSocket, many streams.

Clients speak JSON: `{"action": "subscribe", "streams": [...], "filter": {...}, "after": {NAME:
POSITION}, "limit": N}`, `unsubscribe`, `ping`; or say all of it in the address,
`/ws?streams=force-orders&symbol=BTCUSDT`. Whatever they send may carry an `id`, which the answer
repeats.
"""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from flowd.plugin import BadRequest, Batch, Live, Session, Sink, codec, hookimpl

ACTIONS = ("subscribe", "unsubscribe", "ping")
KEYS = {
    "subscribe": ("action", "id", "streams", "filter", "after", "limit"),
    "unsubscribe": ("action", "id", "streams"),
    "ping": ("action", "id"),
}


@frozen
class Config:
    """Where clients connect."""

    path: str = "/ws"


def messages(batch: Batch[object]) -> list[bytes]:
    """A batch as messages: `reset` and `gap`, if there are any, then `records`."""
    stream, position = codec.encode(batch.stream), str(batch.position).encode()
    made: list[bytes] = []
    if batch.reset:
        made.append(b'{"type":"reset","stream":%b,"position":"%b"}' % (stream, position))
    if batch.gap is not None:
        made.append(
            b'{"type":"gap","stream":%b,"position":"%b.%d","gap":{"first":%d,"last":%d}}'
            % (
                stream,
                batch.position.epoch.encode(),
                batch.gap.last,
                batch.gap.first,
                batch.gap.last,
            )
        )
    made.append(
        b'{"type":"records","stream":%b,"position":"%b","first":%b,"records":[%b]}'
        % (
            stream,
            position,
            b"true" if batch.first else b"false",
            b",".join([record.json for record in batch.records]),
        )
    )
    return made


def slow(stream: str, behind: int) -> bytes:
    """The warning for who was stalled: `behind` records have still to come, or are gone."""
    return codec.encode(
        {
            "type": "warning",
            "code": "SLOW_CONSUMER",
            "stream": stream,
            "behind": behind,
            "message": f"you read too slowly and were {behind} records behind; going on from there",
        }
    )


def error(mistake: BadRequest) -> bytes:
    """What a client did wrong, and what would have been right."""
    return codec.encode({"type": "error", **mistake.body()})


def follow_address(session: Session) -> None:
    """Subscribe to what the address says: `streams`, `after`, `limit`, and filters."""
    wanted = dict(session.query)
    names = [name for name in wanted.pop("streams", "").split(",") if name]
    after, limit = wanted.pop("after", None), wanted.pop("limit", None)
    if not names:
        if wanted or after or limit:
            raise BadRequest(
                "this address names no stream",
                parameter="streams",
                value=None,
                allowed=session.streams,
            )
        return
    if after is not None and len(names) > 1:
        raise BadRequest(
            "a position belongs to one stream",
            parameter="after",
            value=after,
            allowed='one stream here, or {"action": "subscribe", "after": {NAME: POSITION}}',
        )
    subscribe(session, names, wanted, {} if after is None else {names[0]: after}, limit)


def receive(session: Session, text: str) -> None:
    """Do what a client says. BadRequest names its mistake and keeps the connection."""
    try:
        said = codec.decode(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise BadRequest(
            "a message is a JSON object",
            parameter="message",
            value=text[:200],
            allowed='{"action": "subscribe", "streams": [...]}',
            code="BAD_MESSAGE",
        )
    try:
        act(session, said)
    except BadRequest as mistake:
        mistake.id = said.get("id") if isinstance(said.get("id"), str | int) else None
        raise


def act(session: Session, said: dict[str, Any]) -> None:
    """One action of a client."""
    action = said.get("action")
    if action not in ACTIONS:
        raise BadRequest(
            f"there is no action {action!r:.60}", parameter="action", value=action, allowed=ACTIONS
        )
    for key in said:
        if key not in KEYS[action]:
            raise BadRequest(
                f"{action} knows no {key!r:.60}",
                parameter=key,
                value=said[key],
                allowed=KEYS[action],
            )
    if action == "ping":
        session.say(
            codec.encode({"type": "pong", "time_ms": session.now_ms(), "id": said.get("id")})
        )
        return
    names = _names(session, said.get("streams"))
    if action == "unsubscribe":
        # Those which are not followed first: they are a mistake, and a mistake changes nothing.
        for name in sorted(names, key=session.follows.__contains__):
            session.unfollow(name)
        return
    wanted = _object("filter", said.get("filter"), '{"symbol": "BTCUSDT"}')
    after = _object("after", said.get("after"), '{"force-orders": "k3v9.18231"}')
    for name in after:
        if name not in names:
            raise BadRequest(
                f"after names {name!r:.60}, which streams does not",
                parameter="after",
                value=name,
                allowed=names,
            )
    subscribe(session, names, wanted, after, said.get("limit"))


def subscribe(
    session: Session,
    names: list[str],
    wanted: Mapping[str, object],
    after: Mapping[str, object],
    limit: object,
) -> None:
    """Follow several streams. A filter holds for those that have such a field; one that none has
    is a mistake.

    All is checked before anything is followed: a mistake changes nothing.
    """
    fitting = {name: session.filters(name) for name in names}
    for key in wanted:
        if not any(key in known for known in fitting.values()):
            raise BadRequest(
                f"no filter is called {key!r:.60} on {', '.join(names)}",
                parameter=key,
                value=wanted[key],
                allowed=sorted({name for known in fitting.values() for name in known}),
            )
    asked = []
    for name in names:
        filter = {key: value for key, value in wanted.items() if key in fitting[name]}
        asked.append(session.wish(name, filter=filter, after=after.get(name), limit=limit))
    session.check_room(names)
    for one in asked:
        session.follow(one)


def _names(session: Session, names: object) -> list[str]:
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise BadRequest(
            "streams is a list of names", parameter="streams", value=names, allowed=session.streams
        )
    return list(dict.fromkeys(names))


def _object(name: str, value: object, example: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(
            f"{name} is an object", parameter=name, value=value, allowed=f"such as {example}"
        )
    return value


def websocket(config: Config) -> Live:
    """Streams as JSON messages."""
    return Live(
        config.path,
        messages,
        websocket=True,
        warn=slow,
        error=error,
        open=follow_address,
        receive=receive,
    )


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `websocket`."""
    return [Sink("websocket", Config, live=websocket)]
