"""The OpenAPI description of what this daemon serves, from its streams' record types and its
sinks' paths.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from flowd.door.paths import Hot, Live
from flowd.operate.status import ComponentStatus, Status
from flowd.stream.log import Stream
from flowd.values import filters

_TEXT = {"type": "string"}
ADMIN: list[dict[str, list[str]]] = [{"admin": []}]
"""What an operation asks for that only admins may call."""


def openapi(
    version: str,
    streams: Iterable[Stream[Any]],
    paths: Iterable[tuple[str, Live | Hot]],
    others: Iterable[tuple[str, str, str, bool]] = (),
    base_path: str = "",
) -> dict[str, Any]:
    """An OpenAPI 3.1 document. `others` are the routes that sinks answer by themselves: path,
    method, what it is for in one line, and whether only admins may. `base_path` is where a proxy
    has the daemon.
    """
    public = [stream for stream in streams if not stream.private]
    schemas = _schemas([*{stream.record for stream in public}, Status, ComponentStatus])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flowd",
            "version": version,
            "description": "Crypto market flow, remembered a while and served to many readers.",
        },
        "servers": [{"url": base_path or "/"}],
        "paths": _merged(
            _own_paths(),
            *(_sink_path(path, leads_to, public) for path, leads_to in paths),
            *(_other_path(*other) for other in others),
        ),
        "components": {
            "schemas": {**schemas, "Error": _error_schema()},
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(records: list[type]) -> dict[str, Any]:
    """JSON Schemas by msgspec; a Decimal is a string there as on the wire."""
    _, schemas = msgspec.json.schema_components(records, ref_template="#/components/schemas/{name}")
    return dict(schemas)


def _own_paths() -> dict[str, Any]:
    def get(
        summary: str, *also: int, kind: str = "application/json", **more: Any
    ) -> dict[str, Any]:
        answers = {str(code): _answer(code, kind) for code in (200, *also)}
        return {"get": {"summary": summary, "responses": answers, **more}}

    name = [_parameter("name", "path", _TEXT, "a component")]
    admin = {
        "summary": "Start a component again at once (admin)",
        "parameters": name,
        "security": ADMIN,
        "responses": {str(code): _answer(code) for code in (202, 401, 403, 404)},
    }
    return {
        "/": get("What there is", kind="text/plain"),
        "/health": get("Whether everything works; 503 when not", 503),
        "/health/{name}": get("Whether one component works", 404, 503, parameters=name),
        "/status": get("Everything about the daemon at this instant"),
        "/metrics": get("The same for Prometheus", kind="text/plain"),
        "/streams": get("The streams there are, with their filters"),
        "/openapi.json": get("This description"),
        "/components/{name}/reconnect": {"post": admin},
    }


def _merged(own: dict[str, Any], *more: tuple[str, Any]) -> dict[str, Any]:
    """All paths with all their methods; what stands first, counts."""
    for path, methods in more:
        own[path] = {**methods, **own.get(path, {})}
    return own


def _other_path(path: str, method: str, summary: str, admins: bool) -> tuple[str, Any]:
    named = re.findall(r"\{([a-z_]+)\}", path)
    operation = {
        "summary": summary,
        "parameters": [_parameter(name, "path", _TEXT, f"a {name}") for name in named],
        **({"security": ADMIN} if admins else {}),
        "responses": {
            "200": {"description": _WORDS[200]},
            **{str(code): _answer(code) for code in (400, *((401, 403) if admins else ()), 404)},
        },
    }
    return path, {method.lower(): operation}


def _sink_path(path: str, leads_to: Live | Hot, streams: list[Stream[Any]]) -> tuple[str, Any]:
    parameters = []
    names = {"type": "string", "enum": [stream.name for stream in streams]}
    for name in re.findall(r"\{([a-z_]+)\}", path):
        if name == "stream":
            parameters.append(_parameter(name, "path", names, "a stream's name"))
        else:
            parameters.append(_parameter(name, "path", _TEXT, f"a {name}"))
    limit = {"type": "integer", "minimum": 0}
    options = leads_to.options if isinstance(leads_to, Hot) else {}
    for name, values in options.items():
        schema = {"type": "string", "enum": list(values), "default": values[0]}
        parameters.append(_parameter(name, "query", schema, "how the answer is arranged"))
    if not options:
        parameters.append(_parameter("after", "query", _TEXT, "a position: only what is newer"))
    parameters.append(_parameter("limit", "query", limit, "how many of the newest records"))
    found = {name for stream in streams for name in filters.names(stream.record)}
    parameters += [
        _parameter(name, "query", _TEXT, "a filter, on streams that have this field")
        for name in sorted(found)
    ]
    if isinstance(leads_to, Hot):
        summary, answers = "The newest records of a stream", (200, 304, 400, 404)
    elif leads_to.websocket:
        summary, answers = "Follow streams over one WebSocket", (101, 400, 426, 503)
    else:
        summary, answers = "Follow a stream for as long as you like", (200, 400, 404, 503)
    operation = {
        "summary": summary,
        "parameters": parameters,
        "responses": {str(code): _answer(code) for code in answers},
    }
    return path, {"get": operation}


def _parameter(name: str, place: str, schema: dict[str, Any], words: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": words,
    }


_WORDS = {
    101: "it is a WebSocket from here on",
    200: "done",
    202: "it is under way",
    304: "nothing new since If-None-Match",
    400: "a parameter is wrong; the body says which, and what is allowed",
    401: "the admin token is missing or wrong",
    403: "this daemon has no admin token",
    404: "there is no such thing; the body says what there is",
    426: "a WebSocket handshake is needed",
    503: "not at the moment",
}


def _answer(code: int, kind: str = "application/json") -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _WORDS[code]}
    if code >= 400 and code != 503:
        answer["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    elif code == 200:
        answer["content"] = {kind: {}}
    return answer


def _error_schema() -> dict[str, Any]:
    inner = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": _TEXT,
            "message": _TEXT,
            "parameter": _TEXT,
            "value": {},
            "allowed": {},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}
