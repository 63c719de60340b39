"""A flowd sink: REST paths that this daemon cannot answer by itself are asked of another daemon.

An edge has the streams of its ingest daemon, and not its history file nor its connections to
exchanges. What needs these is fetched from there, for many at once and only when it has changed;
what is to be done there is passed on, as far as the configuration says so.
"""

from importlib import import_module
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.plugin import BadRequest, Desk, Seconds, Sink, Size, Streams, hookimpl
from flowd_relay.asking import Asker, Target

HISTORY = "/streams/{name}/history"
WRITING = ("POST", "PUT", "DELETE")
VIA = "1.1 flowd-relay"
"""How requests say that a relay asks: one that is relayed again would go in a circle."""


def _url(_: object, attribute: object, url: str) -> None:
    try:
        parts = urlsplit(url)
        # A port that is none raises where it is asked for.
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("url: expected a daemon's address such as http://ingest:4200")


def _paths(_: object, attribute: object, paths: list[str]) -> None:
    if not paths:
        raise ValueError(f'paths = []: name at least one, such as "{HISTORY}"')
    _are_paths(paths, "paths")


def _writes(_: object, attribute: object, paths: list[str]) -> None:
    _are_paths(paths, "writes")


def _are_paths(paths: list[str], setting: str) -> None:
    for path in paths:
        if path.strip("/*") == "" or not path.startswith("/") or "*" in path.removesuffix("/*"):
            raise ValueError(
                f'{setting}: "{path}": expected a path such as "{HISTORY}", or "/api/v1/candles/*" '
                "for all below"
            )
        rule(path, setting)


def rule(path: str, setting: str = "paths") -> str:
    """The path as Quart has it; ValueError where a name in it is none."""
    below = path.endswith("/*")
    parts = []
    for part in path.removesuffix("/*").split("/"):
        name = part[1:-1] if part.startswith("{") and part.endswith("}") else None
        if name is None and not set("{}<>").isdisjoint(part):
            raise ValueError(
                f'{setting}: "{path}": a name is a whole part of a path, as in {{name}}'
            )
        if name is not None and not name.isidentifier():
            raise ValueError(f'{setting}: "{path}": {name!r} is no name')
        parts.append(part if name is None else f"<{name}>")
    return "/".join(parts) + ("/<path:below>" if below else "")


@frozen
class Config:
    """`url` is the daemon that is asked, `paths` what it is asked for: `{names}` stand for one part
    of a path, `/*` at the end for all below. A path that this daemon answers by itself is never
    relayed. At the paths of `writes` POST, PUT and DELETE are passed on, with at most `write_max`
    bytes each.

    An answer may have `body_max` bytes; `cache` bytes of answers are kept, to be sent again when
    the daemon says that they are still right. `at_once` requests are under way together, and
    `waiting` more may wait; each has to be answered within `timeout`.
    """

    url: str = field(validator=_url)
    paths: list[str] = field(factory=lambda: [HISTORY], validator=_paths)
    writes: list[str] = field(factory=list, validator=_writes)
    write_max: Size = Size(64 * 1024)
    timeout: Seconds = Seconds(10.0)
    body_max: Size = Size(8 * 1024 * 1024)
    cache: Size = Size(32 * 1024 * 1024)
    at_once: int = 8
    waiting: int = 200

    def __attrs_post_init__(self) -> None:
        # It brings httpx2: only who configures a relay pays for that, and before the loop turns.
        import_module("httpx2")
        if self.timeout < 0.1:
            raise ValueError('timeout: expected "100ms" or more')
        if not 1 <= self.at_once <= 20 or not 0 <= self.waiting <= 10_000:
            raise ValueError("expected at_once from 1 to 20 and waiting from 0 to 10000")


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """The paths: GET, and what is done at some of them."""
    blueprint = Blueprint(f"relay {desk.name}".replace(".", "-"), __name__)
    asker = Asker(
        desk,
        timeout_s=config.timeout,
        body_max=config.body_max,
        cache_max=config.cache,
        at_once=config.at_once,
        waiting=config.waiting,
    )
    base = config.url.rstrip("/")

    async def relayed(**names: str) -> Response:
        """From the daemon that this one follows."""
        _check_first()
        told = await asker.ask(_target(base))
        headers = {**told.headers, "Via": VIA}
        if told.etag is not None and told.etag in request.headers.get("If-None-Match", ""):
            headers.pop("Content-Type", None)
            return Response(b"", 304, headers)
        return Response(told.body, told.status, headers)

    async def passed_on(**names: str) -> Response:
        """Done by the daemon that this one follows."""
        _check_first()
        content = await _body(config.write_max)
        told = await asker.tell(request.method, _target(base), content)
        return Response(told.body, told.status, {**told.headers, "Via": VIA})

    for number, path in enumerate(dict.fromkeys(config.paths)):
        blueprint.add_url_rule(rule(path), f"relayed_{number}", relayed, methods=["GET"])
    for number, path in enumerate(dict.fromkeys(config.writes)):
        blueprint.add_url_rule(rule(path), f"passed_on_{number}", passed_on, methods=WRITING)
    return blueprint


def _check_first() -> None:
    if "flowd-relay" in request.headers.get("Via", ""):
        raise BadRequest(
            "this was relayed already: two daemons ask each other",
            parameter="path",
            value=request.path,
            allowed="a relay's url that is the daemon which can answer",
            code="RELAY_LOOP",
            status=508,
        )


async def _body(most: int) -> bytes:
    """What the request carries; BadRequest as soon as that is too much."""
    found = bytearray()
    async for part in request.body:
        found += part
        if len(found) > most:
            raise BadRequest(
                "the body is too large to be passed on",
                parameter="body",
                allowed=f"at most {most} bytes",
                status=413,
            )
    return bytes(found)


def _target(base: str) -> Target:
    """What is asked for: as this client asked for it, and on whose behalf."""
    path = request.path
    if any(part in (".", "..") for part in path.split("/")):
        raise BadRequest(
            "a path with dots leads elsewhere",
            parameter="path",
            value=path,
            allowed="the path itself",
            code="NOT_FOUND",
            status=404,
        )
    query = request.query_string.decode("ascii", "replace")
    url = base + quote(path, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    sent = [("Via", VIA), ("X-Forwarded-For", _addresses())]
    if request.content_type:
        sent.append(("Content-Type", request.content_type))
    return Target(
        url,
        accept=request.headers.get("Accept", ""),
        authorization=request.headers.get("Authorization", ""),
        sent=tuple(sent),
    )


def _addresses() -> str:
    """Who asks: the daemon counts by that where it trusts this one, as it does a proxy."""
    told = [request.headers.get("X-Forwarded-For", ""), request.remote_addr or ""]
    return ", ".join(part for part in told if part)


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `relay`."""
    return [Sink("relay", Config, routes=routes)]
