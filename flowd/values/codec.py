"""attrs values to JSON bytes and back: the one cattrs converter of the daemon.

Decimals travel as strings in plain notation (`"0.100"`, never `1E-1`), exactly as they were given.
"""

import typing
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, TypeVar

import attrs
import msgspec
from cattrs.preconf.msgspec import make_converter

from flowd.values.errors import Unusable

T = TypeVar("T")


def plain(number: Decimal) -> str:
    """A decimal in plain notation, its digits kept: `Decimal("1E+3")` is `"1000"`."""
    text = str(number)  # Which costs less than half, and nearly always is the same.
    return format(number, "f") if "E" in text else text


def _decimal(value: object, _: type) -> Decimal:
    # Two looks at a class: `str | int` would be made anew for each number of each record.
    if not isinstance(value, str) and not isinstance(value, int):
        raise ValueError(f"expected a decimal number as a string, got {value!r}")
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError(f"expected a decimal number, got {value!r}") from None


def _is_row(hint: Any) -> bool:
    """Whether it is a tuple of however many of one class, `tuple[Part, ...]`."""
    parts = typing.get_args(hint)
    return typing.get_origin(hint) is tuple and len(parts) == 2 and parts[1] is Ellipsis


def _row(hint: Any) -> Callable[[Iterable[object]], list[object]]:
    """Its parts to plain values; cattrs' own way costs three times as much for a part or two."""
    part: Callable[[object], object] = _converter.get_unstructure_hook(typing.get_args(hint)[0])
    return lambda values: [part(value) for value in values]


_converter = make_converter(detailed_validation=False)
_converter.register_unstructure_hook(Decimal, plain)
_converter.register_unstructure_hook_factory(_is_row, _row)
_converter.register_structure_hook(Decimal, _decimal)

encode = msgspec.json.encode
"""Plain Python values (dicts, lists, strings, numbers) to JSON bytes."""

_decode = msgspec.json.decode


def decode(data: bytes | bytearray | memoryview | str) -> Any:
    """JSON bytes or text to plain Python values; ValueError when it is none, or is nested so deeply
    that nobody means it.
    """
    try:
        return _decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object in a message of an upstream. Unusable: `not JSON`, `not an object`."""
    try:
        found = decode(data)
    except ValueError:
        raise Unusable("not JSON") from None
    if not isinstance(found, dict):
        raise Unusable("not an object")
    return found


@cache
def _unstructure(kind: type) -> Callable[[object], object]:
    """What makes plain values of a class's instances: looked up once, since every record needs
    it.
    """
    hook: Callable[[object], object] = _converter.get_unstructure_hook(kind)
    return hook


@cache
def _structure(kind: type) -> Callable[[Any, type], Any]:
    """What makes a class's instances of plain values: looked up once, as its counterpart."""
    return _converter.get_structure_hook(kind)


def dumps(value: object) -> bytes:
    """One attrs value as JSON bytes, fields in the order in which the class declares them.
    TypeError, with the field's name, when one is of a type that JSON has not.
    """
    try:
        return encode(_unstructure(type(value))(value))  # type: ignore[arg-type]  # classes hash
    except TypeError as error:
        raise TypeError(f"{_unwritable(value)} cannot be written as JSON: {error}") from error


def _unwritable(value: Any) -> str:
    """The field of a value at which writing it fails, or all of it."""
    attributes = attrs.fields(type(value)) if attrs.has(type(value)) else ()
    for attribute in attributes:
        part = getattr(value, attribute.name)
        try:
            hint = attribute.type if isinstance(attribute.type, type) else None
            encode(_converter.unstructure(part, unstructure_as=hint))
        except Exception:
            return f"{type(value).__name__}.{attribute.name} = {part!r:.60}"
    return f"{value!r:.60}"


def to_plain(value: object) -> Any:
    """One attrs value as dicts, lists and strings, as its JSON would be."""
    return _converter.unstructure(value)


def loads(data: bytes, kind: type[T]) -> T:
    """JSON bytes as a value of `kind`; ValueError when they do not fit, saying why."""
    try:
        return _converter.structure(decode(data), kind)
    except Exception as error:  # also what a class's own validators raise
        raise ValueError(f"not a {kind.__name__}: {error!r}") from error


def structure(plain: object, kind: type[T]) -> T:
    """What was decoded as a value of `kind`; ValueError when it does not fit, saying why."""
    try:
        return _structure(kind)(plain, kind)  # type: ignore[arg-type,no-any-return]  # classes hash
    except Exception as error:  # also what a class's own validators raise
        raise ValueError(f"not a {kind.__name__}: {error!r}") from error


def loads_value(data: bytes, kind: type[T]) -> T:
    """The `value` of a record's JSON, as a value of `kind`; ValueError when it does not fit."""
    try:
        return _structure(kind)(decode(data)["value"], kind)  # type: ignore[arg-type,no-any-return]  # classes hash
    except Exception as error:  # also what a class's own validators raise
        raise ValueError(f"not a {kind.__name__}: {error!r}") from error
