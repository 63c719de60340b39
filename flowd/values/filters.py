"""What a reader wants to see of a stream: `symbol=BTCUSDT`, `side=SELL`, `min_notional=10000`.

A stream's filters follow from its record type, so a new kind of record needs no code here: a text
field filters by equality (several values separated by commas), a number by `min_` and `max_`.
"""

import re
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal

import attrs
from attrs import field, frozen

from flowd.values.errors import BadRequest

_COMMA = re.compile(r"(?<!\\),")
_PLAIN = str | int | float | Decimal

Where = Callable[[Any], bool]

VALUES_MAX = 200
"""The most values one filter may list."""


@frozen
class Filter:
    """A choice among a stream's values. Equal filters are equal values, so that they share one
    channel.
    """

    terms: tuple[tuple[str, tuple[str, ...]], ...] = ()
    where: Where | None = field(default=None, eq=False, repr=False)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        return "&".join(f"{name}={','.join(values)}" for name, values in self.terms)


ALL = Filter()
"""Every record."""


@frozen
class Field:
    """What one filter looks at: a field of the value, compared how, and the only values it can
    have, if few.
    """

    name: str
    how: Literal["equal", "min", "max"]
    options: tuple[str, ...] = ()


def names(record: type) -> dict[str, Field]:
    """The filters that readers of this record type may use, by name."""
    return _names(record)


@lru_cache(maxsize=256)
def _names(record: Any) -> dict[str, Field]:
    found: dict[str, Field] = {}
    if not attrs.has(record):
        return found
    hints = typing.get_type_hints(record)
    for attribute in attrs.fields(record):
        kinds = _kinds(hints[attribute.name])
        if kinds <= {str, bool}:
            found[attribute.name] = Field(attribute.name, "equal", _options(hints[attribute.name]))
        elif kinds <= {int, float, Decimal}:
            found[f"min_{attribute.name}"] = Field(attribute.name, "min")
            found[f"max_{attribute.name}"] = Field(attribute.name, "max")
    return found


def _kinds(hint: Any) -> set[Any]:
    """The plain types a field may hold: a union's members, a Literal's values' types, without
    None.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(part) for part in typing.get_args(hint)))
    if origin is Literal:
        return {type(value) for value in typing.get_args(hint)}
    return set() if hint is type(None) else {hint}


def _options(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return tuple(str(value) for value in typing.get_args(hint))
    return ()


def parse(record: type, wanted: Mapping[str, object]) -> Filter:
    """The filter that `wanted` (name to text, number or list of texts) describes for this record
    type.

    BadRequest names the parameter, its value and what is allowed.
    """
    if not wanted:
        return ALL
    allowed = names(record)
    terms: list[tuple[str, tuple[str, ...]]] = []
    tests: list[Where] = []
    for name in sorted(wanted):
        if name not in allowed:
            raise BadRequest(
                f"no filter is called {name!r} here",
                parameter=name,
                value=wanted[name],
                allowed=sorted(allowed),
            )
        values = _values(name, wanted[name])
        look = allowed[name]
        if look.how == "equal":
            if look.options and not set(values) <= set(look.options):
                raise BadRequest(
                    f"{name} is never {','.join(values)!r}",
                    parameter=name,
                    value=wanted[name],
                    allowed=look.options,
                )
            terms.append((name, values))
            tests.append(_equal(look.name, frozenset(values)))
        else:
            bound = _bound(name, values)
            terms.append((name, (format(bound, "f"),)))
            tests.append(_bounded(look.name, bound, look.how))
    return Filter(tuple(terms), _all(tests))


def _values(name: str, value: object) -> tuple[str, ...]:
    parts: list[Any] = value if isinstance(value, list) else [value]
    texts: list[str] = []
    if all(isinstance(part, _PLAIN) for part in parts):
        split = parts if isinstance(value, list) else _split(_text(value))
        texts = sorted({_text(part) for part in split} - {""})
    if not texts or len(texts) > VALUES_MAX:
        raise BadRequest(
            f"{name} needs between 1 and {VALUES_MAX} values",
            parameter=name,
            value=value,
            allowed="one value, or several separated by commas (\\, is a comma in a value)",
        )
    return tuple(texts)


def _split(text: str) -> list[str]:
    """The values that commas separate. A comma that belongs to a value has a backslash before
    it.
    """
    return [part.replace("\\,", ",") for part in _COMMA.split(text)]


def _text(part: object) -> str:
    return ("true" if part else "false") if isinstance(part, bool) else str(part).strip()


def _bound(name: str, values: tuple[str, ...]) -> Decimal:
    try:
        (text,) = values
        bound = Decimal(text)
        if not bound.is_finite() or not -30 < bound.adjusted() < 30:
            raise ValueError
    except (ValueError, InvalidOperation):
        raise BadRequest(
            f"{name} must be one decimal number",
            parameter=name,
            value=",".join(values),
            allowed="a decimal number such as 10000 or 0.5",
        ) from None
    return bound


def _equal(attribute: str, values: frozenset[str]) -> Where:
    def equal(value: Any) -> bool:
        have = getattr(value, attribute)
        return (have if type(have) is str else _text(have)) in values

    return equal


def _bounded(attribute: str, bound: Decimal, how: str) -> Where:
    if how == "min":

        def at_least(value: Any) -> bool:
            have = getattr(value, attribute)
            return _is_number(have) and have >= bound

        return at_least

    def at_most(value: Any) -> bool:
        have = getattr(value, attribute)
        return _is_number(have) and have <= bound

    return at_most


def _is_number(value: Any) -> bool:
    """Not None, and not NaN: Decimal refuses to compare it, and it alone differs from itself."""
    return value is not None and value == value


def _all(tests: list[Where]) -> Where:
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)
