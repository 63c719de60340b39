"""Health, status and metrics over HTTP: of this process, or of all that are one daemon."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from quart import Blueprint, Response, request

from flowd.operate import siblings as of_all
from flowd.operate.metrics import prometheus
from flowd.operate.siblings import SILENT, Siblings
from flowd.operate.status import ComponentStatus, Status
from flowd.values import codec
from flowd.values.errors import BadRequest

TEXT = "text/plain; version=0.0.4"


def as_json(value: object, status: int = 200) -> Response:
    """An answer that is JSON."""
    return Response(codec.encode(value) + b"\n", status, content_type="application/json")


def unknown(what: str, name: str, known: list[str]) -> BadRequest:
    """What somebody is told who asks for what there is not."""
    return BadRequest(
        f"there is no {what} {name!r:.60}",
        parameter=what,
        value=name,
        allowed=known,
        code=f"UNKNOWN_{what.upper()}",
        status=404,
    )


def routes(status: Callable[[], Status], siblings: Siblings | None) -> Blueprint:
    """`/health`, `/health/NAME`, `/status` and `/metrics`. One of several processes tells of all of
    them, and with `?process=NAME` of one by itself.
    """
    blueprint = Blueprint("flowd_telling", __name__)
    one = _One(status)
    all_of_them = one if siblings is None else _All(one, siblings)

    async def answer(make: Callable[["_One | _All"], Awaitable[Response]]) -> Response:
        name = request.args.get("process")
        if siblings is None or name is None:
            return await make(all_of_them)
        return await make(one) if name == siblings.name else await _other(siblings, name)

    @blueprint.get("/health")
    async def health() -> Response:
        async def make(told: _One | _All) -> Response:
            found = await told.health()
            return as_json(found, 200 if found["status"] == "ok" else 503)

        return await answer(make)

    @blueprint.get("/health/<name>")
    async def component_health(name: str) -> Response:
        async def make(told: _One | _All) -> Response:
            part = _part(await told.status(), name)
            return as_json(part, 200 if _is_well(part) else 503)

        return await answer(make)

    @blueprint.get("/status")
    async def everything() -> Response:
        async def make(told: _One | _All) -> Response:
            return as_json(await told.status())

        return await answer(make)

    @blueprint.get("/metrics")
    async def metrics() -> Response:
        async def make(told: _One | _All) -> Response:
            return Response(await told.metrics(), content_type=TEXT)

        return await answer(make)

    return blueprint


async def _other(siblings: Siblings, name: str) -> Response:
    """What another process answers to this very request."""
    if name not in siblings.names:
        raise unknown("process", name, list(siblings.names))
    told = await siblings.ask_one(name, request.path)
    if told is None:
        raise BadRequest(
            f"{name} {SILENT}",
            parameter="process",
            value=name,
            allowed="the same again in a few seconds, or GET /health",
            code="UNAVAILABLE",
            status=503,
        )
    kind = TEXT if request.path == "/metrics" else "application/json"
    return Response(told[1], told[0], content_type=kind)


class _One:
    """What this process says of itself."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    async def health(self) -> dict[str, Any]:
        """`/health`."""
        return self._status().health()

    async def status(self) -> dict[str, Any]:
        """`/status`."""
        found: dict[str, Any] = codec.to_plain(self._status())
        return found

    async def metrics(self) -> bytes:
        """`/metrics`."""
        return prometheus(self._status())


class _All:
    """What all processes say, as one."""

    def __init__(self, own: _One, siblings: Siblings) -> None:
        self._own = own
        self._siblings = siblings

    async def health(self) -> dict[str, Any]:
        """`/health`."""
        own = codec.encode(await self._own.health())
        return of_all.health(await self._siblings.rows(), await self._json("/health", own))

    async def status(self) -> dict[str, Any]:
        """`/status`."""
        own = codec.encode(await self._own.status())
        return of_all.status(await self._siblings.rows(), await self._json("/status", own))

    async def metrics(self) -> bytes:
        """`/metrics`."""
        told = await self._siblings.ask("/metrics", await self._own.metrics())
        texts = {name: text.decode() for name, text in told.items()}
        return of_all.metrics(await self._siblings.rows(), texts)

    async def _json(self, path: str, own: bytes) -> dict[str, Any]:
        told = await self._siblings.ask(path, own)
        return {name: codec.decode(body) for name, body in told.items()}


def _part(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A component or a process in a status; BadRequest when there is none of this name."""
    parts = [*status["components"], *status.get("processes", ())]
    for part in parts:
        if part["name"] == name:
            return dict(part)
    raise unknown("component", name, [part["name"] for part in parts])


def _is_well(part: Mapping[str, Any]) -> bool:
    healthy: bool = part["healthy"] if "healthy" in part else ComponentStatus(**part).healthy
    return healthy
