"""Plain values, as TOML has them, to attrs values by their types, with errors that name the key and
say what would have been right.
"""

import contextlib
import re
import types
import typing
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import cattrs

from flowd.market import number
from flowd.values.errors import Mistakes, UserError, did_you_mean, nearest
from flowd.values.settings import Given, Seconds, Secret, Size, seconds, secret, size

C = TypeVar("C")


_LITERAL = re.compile(r" not in literal typing\.Literal\[(.*)\]")


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(Seconds, lambda value, _: seconds(value))
    converter.register_structure_hook(Size, lambda value, _: size(value))
    converter.register_structure_hook(Secret, lambda value, _: secret(value))
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(bool, lambda value, _: _exactly(value, bool, "true or false"))
    converter.register_structure_hook(int, lambda value, _: _exactly(value, int, "a whole number"))
    converter.register_structure_hook(str, lambda value, _: _exactly(value, str, "a text"))
    converter.register_structure_hook_func(_is_simple_union, _simple_union)
    converter.register_structure_hook_func(_is_list, _list)
    return converter


def _exactly(value: object, kind: type, words: str) -> Any:
    if kind is str and isinstance(value, Given):
        return value  # which is made plain at the end
    if type(value) is not kind:
        raise ValueError(f"expected {words}, got {value!r}")
    return value


def _decimal(value: object, _: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    try:
        return number(str(value))
    except ValueError:
        raise ValueError(f"expected a number, got {value!r}") from None


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) in (list, tuple, set, frozenset)


def _list(value: object, hint: Any) -> Any:
    """A text is none, though Python would take it for a list of letters."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r}")
    part = typing.get_args(hint)[0]
    return typing.get_origin(hint)(_plain(_structure.structure(item, part)) for item in value)


def _is_simple_union(hint: Any) -> bool:
    """Such as `str | list[str]` and `int | None`, which TOML's own types tell apart."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return False
    return not any(attrs.has(part) for part in typing.get_args(hint)) or Secret in typing.get_args(
        hint
    )


def _simple_union(value: object, hint: Any) -> Any:
    faults: list[str] = []
    parts = typing.get_args(hint)
    if isinstance(value, Given) and value.variable is not None and Secret in parts:
        # An address that may have a password in it: who keeps it in a variable does not show it.
        parts = (Secret, *parts)
    for part in parts:
        if part is type(None):
            continue
        try:
            return _structure.structure(value, part)
        except Exception as error:
            faults.append(_say(error))
    raise ValueError(" or ".join(dict.fromkeys(faults)))


_structure = _converter()


def structure(content: object, kind: type[C], where: str, also: set[str] | None = None) -> C:
    """A table as a value of `kind`; UserError that names each key that is wrong and says what would
    have been right.

    `also` are keys that are allowed beside the class's own, for "did you mean".
    """
    keys = as_table(content, where)
    attributes = attrs.fields(typing.cast(Any, kind))  # a plugin's class, which mypy cannot know
    names = [attribute.name for attribute in attributes]
    known = (*names, *sorted(also or ()))
    mistakes = Mistakes()
    with mistakes.noted():
        known_keys(keys, known, where)
    meant = {near for key in keys if key not in known for near in nearest(key, known)}
    for attribute in attributes:
        name = attribute.name
        if attribute.default is attrs.NOTHING and name not in keys and name not in meant:
            mistakes.found.append(f"[{where}]: {name} = … is missing")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in keys.items():
        if name in names:
            with mistakes.noted():
                values[name] = _value(value, hints[name], f"{where}.{name}")
    mistakes.tell()
    try:
        return kind(**values)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_refused(error, where)) from None


def _value(value: object, hint: Any, where: str) -> Any:
    """One key's value; UserError that says what would have been right."""
    if isinstance(value, Given):
        # TOML if it is some that fits, else text: a secret may be all digits.
        with contextlib.suppress(UserError):
            return _written(value.parsed(), hint, where, value)
    return _written(value, hint, where, value)


def _written(value: object, hint: Any, where: str, given: object) -> Any:
    if isinstance(hint, type) and attrs.has(hint) and hint is not Secret:
        return structure(value, hint, where)
    try:
        return _plain(_structure.structure(value, hint))
    except UserError:
        raise
    except Exception as error:
        shown = "…" if Secret in (hint, *typing.get_args(hint)) else _shown(given)
        raise UserError(f"{where} = {shown}: {_say(error)}") from None


def _plain(value: Any) -> Any:
    """From here on a text is one like any other, wherever it is from."""
    return value.plain if isinstance(value, Given) else value


def _refused(error: Exception, where: str) -> str:
    """Why a class refuses its values. attrs' own validators say it in a tuple, with the attribute
    in it; and what is no ValueError says in its class what it is about.
    """
    words, *rest = error.args or ("",)
    for part in rest:
        if isinstance(part, attrs.Attribute):
            return f"{where}.{part.name}: {words}"
    if isinstance(error, ValueError | TypeError) and str(error):
        return f"[{where}]: {error}"
    return f"[{where}]: {error!r}"


def _say(error: BaseException) -> str:
    """The innermost reason of cattrs' nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)
    options = _LITERAL.search(text)
    return f"expected one of {options[1]}" if options else text or repr(error)


def _shown(value: object) -> str:
    if isinstance(value, Given):
        return repr(value)
    return (
        "…" if isinstance(value, dict) else f'"{value}"' if isinstance(value, str) else repr(value)
    )


def as_table(value: object, where: str) -> dict[str, Any]:
    """The value, which must be a table; else UserError that shows how one is written."""
    if isinstance(value, Given):
        value = value.parsed()
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a table, written [{where}], got {value!r}")
    return value


def known_keys(keys: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """UserError, with the nearest that there is, for each key that is not known."""
    mistakes = Mistakes()
    for key in keys:
        if key not in known:
            wrong = f"[{where}]: there is no key {key!r}" if where else f"there is no table [{key}]"
            mistakes.found.append(f"{wrong}{did_you_mean(key, known)}")
    mistakes.tell()
