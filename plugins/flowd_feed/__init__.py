"""A flowd sink: the newest fills or liquidations in the documented shape of the two feeds,
`/api/all-fills` and `/api/liquidations`.

A poll is answered by the door from prepared bytes; only what changes by the moment, such as how
long ago the last message came, is made for each answer.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.market import Fill
from flowd.plugin import Desk, Hot, Sink, StreamName, Streams, Tail, codec, hookimpl
from flowd_feed.shapes import ROWS_MAX, Rows, State, render

ITEMS = ("fills", "liquidations")


def _path(_: object, attribute: Any, path: str) -> None:
    if not path.startswith("/") or "{" in path:
        raise ValueError(f'path = "{path}": expected a fixed path such as "/api/all-fills"')


def _items(_: object, attribute: Any, items: str) -> None:
    if items not in ITEMS:
        raise ValueError(f'items = "{items}": expected one of {", ".join(ITEMS)}')


@frozen
class Config:
    """`path` is where the feed is, `input` the stream of fills, `items` what the rows are called:
    `fills`, or `liquidations`, whose rows say more.
    """

    path: str = field(validator=_path)
    input: StreamName
    items: str = field(validator=_items)


def poll(config: Config) -> Hot:
    """`GET`: the newest rows first, and how the feed stands."""
    rows = Rows(liquidations=config.items == "liquidations")

    def tail(streams: Streams, now_ms: int) -> Tail:
        return State.of(config.input, config.items, streams, now_ms).tail()

    def health(query: Mapping[str, str], streams: Streams, now_ms: int) -> bytes | None:
        if query.get("health", "false").lower() not in ("true", "1"):
            return None
        return codec.encode(State.of(config.input, config.items, streams, now_ms).health()) + b"\n"

    return Hot(
        config.path,
        lambda batch: render(config.items, rows, batch),
        stream=config.input,
        prepare=rows.of,
        tail=tail,
        instead=health,
        limit_max=ROWS_MAX,
        others=True,
    )


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """`POST {"action": "reconnect" | "status"}`, for an admin."""
    blueprint = Blueprint(f"feed {config.path}".replace(".", " "), __name__)

    @blueprint.post(config.path)
    @desk.for_admins
    async def act() -> Response:
        """Reconnect the upstream, or say how it stands (admin)."""
        try:
            body = codec.decode(await request.get_data())
        except ValueError:
            body = None
        action = body.get("action") if isinstance(body, dict) else None
        if action == "reconnect":
            desk.reconnect(config.input)
            return _json({"success": True, "message": "Reconnection initiated"})
        if action == "status":
            state = State.of(config.input, config.items, streams, desk.now_ms())
            return _json(state.health())
        return _json({"error": "Invalid action"}, 400)

    return blueprint


def _json(value: object, status: int = 200) -> Response:
    return Response(codec.encode(value) + b"\n", status, content_type="application/json")


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `http-feed`."""
    return [Sink("http-feed", Config, routes=routes, hot=poll, reads=Fill)]
