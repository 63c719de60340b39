"""Requests that a client sends on an open connection, and the answers to them."""

import json
import re
from typing import Any, TypeGuard

from attrs import define, field

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
UINT_MAX = 2**64 - 1
Id = int | str
ID_TEXT = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
"""Clients of the exchange's own send UUIDs; its documents only know numbers."""


@define
class Subscriptions:
    """What one client wants to hear, and in which form."""

    combined: bool
    streams: dict[str, None] = field(factory=dict)
    """A set which keeps its order."""

    def wrap(self, stream: str, event: str) -> str:
        """The event as this client gets it."""
        return f'{{"stream":{_text(stream)},"data":{event}}}' if self.combined else event


def answer(subscriptions: Subscriptions, message: str | bytes) -> str:
    """Do what a message asks for and say so; a wrong one changes nothing and gets an error."""
    try:
        request = json.loads(message)
    except ValueError:
        return _error(3, "Invalid JSON: expected value at line 1 column 1")
    if not isinstance(request, dict):
        return _invalid("expected a request object")
    number = request.get("id")
    if not _is_id(number):
        return _invalid("request ID must be an unsigned integer")
    method, params = request.get("method"), request.get("params", [])
    if method is None:
        return _invalid("missing field `method`")
    if method not in METHODS:
        known = ", ".join(f"`{name}`" for name in METHODS)
        return _invalid(f"unknown variant `{method}`, expected one of {known}")
    if not isinstance(params, list):
        return _invalid("invalid type: expected a sequence")
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        return _change(subscriptions, method, params, number)
    if method == "LIST_SUBSCRIPTIONS":
        return _result(list(subscriptions.streams), number)
    return _property(subscriptions, method, params, number)


def _change(subscriptions: Subscriptions, method: str, params: list[Any], number: Id) -> str:
    # Any: what a client sends is anything.
    if not all(isinstance(name, str) and "@" in name for name in params):
        error = {"code": 2, "msg": "Invalid request: invalid stream"}
        return _text({"error": error, "id": number})
    for name in params:
        if method == "SUBSCRIBE":
            subscriptions.streams[name] = None
        else:
            subscriptions.streams.pop(name, None)
    return _result(None, number)


def _property(subscriptions: Subscriptions, method: str, params: list[Any], number: Id) -> str:
    setting = method == "SET_PROPERTY"
    if len(params) > 1 + setting:
        return _invalid("too many parameters")
    if not params or not isinstance(params[0], str):
        return _invalid("property name must be a string")
    if params[0] != "combined":
        return _error(0, "Unknown property")
    if not setting:
        return _result(subscriptions.combined, number)
    if len(params) < 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean")
    subscriptions.combined = params[1]
    return _result(None, number)


def _is_id(value: object) -> TypeGuard[Id]:
    if isinstance(value, str):
        return ID_TEXT.fullmatch(value) is not None
    return type(value) is int and 0 <= value <= UINT_MAX


def _result(result: object, number: Id) -> str:
    return _text({"result": result, "id": number})


def _invalid(why: str) -> str:
    return _error(2, f"Invalid request: {why}")


def _error(code: int, message: str) -> str:
    return _text({"code": code, "msg": message})


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
