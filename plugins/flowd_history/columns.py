"""A record class as columns, for who exports: what each field holds, in words that a file keeps.

The words are stored beside the records while the class is at hand, so that an export needs neither
the plugin nor the configuration.
"""

import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import attrs

from flowd.history import Columns, Kind
from flowd.plugin import codec

OWN: Columns = [("epoch", "text"), ("seq", "integer"), ("recorded_ms", "integer")]
"""What every record has beside its value."""

_WORDS: list[tuple[set[Any], Kind]] = [
    ({str}, "text"),
    ({bool}, "boolean"),
    ({int}, "integer"),
    ({int, float}, "number"),
    ({int, Decimal}, "decimal"),
]


def columns_of(record: type) -> Columns:
    """The fields of a record class in its order; none for a class that is no attrs class."""
    if not attrs.has(record):
        return []
    hints = typing.get_type_hints(record)
    return [(field.name, _word(hints[field.name])) for field in attrs.fields(record)]


def _word(hint: Any) -> Kind:
    kinds = _kinds(hint)
    return next((word for fitting, word in _WORDS if kinds and kinds <= fitting), "json")


def _kinds(hint: Any) -> set[Any]:
    """The plain types that a field may hold, without None."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(part) for part in typing.get_args(hint)))
    if origin is Literal:
        return {type(value) for value in typing.get_args(hint)}
    if isinstance(hint, typing.NewType):
        return _kinds(hint.__supertype__)
    return set() if hint is type(None) else {hint}


def heading(columns: Columns, *, keyed: bool) -> Columns:
    """The columns of an export: flowd's own, then the value's fields, or the whole value where
    they are unknown. A field that is called like one of flowd's is called `value_…`.
    """
    own: Columns = [*OWN, ("key", "text")] if keyed else [*OWN]
    taken = {name for name, _ in own}
    fields = columns or [("value", "json")]
    return own + [(f"value_{name}" if name in taken else name, kind) for name, kind in fields]


def cells(epoch: str, json: bytes, columns: Columns, *, keyed: bool) -> list[str | None]:
    """One record as the texts of its cells, in the order of `heading`; None for nothing."""
    record = codec.decode(json)
    value = record["value"]
    found: list[Any] = [epoch, record["seq"], record["time_ms"]]
    if keyed:
        found.append(record.get("key"))
    if columns:
        fields = value if isinstance(value, Mapping) else {}
        found += [fields.get(name) for name, _ in columns]
    else:
        found.append(codec.encode(value).decode())
    return [_text(cell) for cell in found]


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return repr(cell)
    return codec.encode(cell).decode()
