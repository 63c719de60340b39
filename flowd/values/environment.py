"""What the environment says of the configuration: `${NAME}` within its texts, and variables such as
`FLOWD__SOURCES__TRADES__URL`, each of which sets one key.

Neither is read as TOML before it is known what the key may be: see `Given`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from flowd.values.errors import Mistakes, UserError
from flowd.values.settings import Given

PREFIX = "FLOWD__"
TABLES = ("sources", "transforms", "sinks")
_REFERENCE = re.compile(r"\$(?:\$\{|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{)")
Used = dict[str, str | None]
"""The variables that something refers to: None for one that was taken, else why its default was."""
_NOT_NAME = re.compile(r"[^A-Z0-9]")


@frozen
class Document:
    """A configuration's tables as they are meant, and which key has what of which variable."""

    tables: dict[str, Any]
    used: dict[str, Used] = field(factory=dict)
    """Variables by the place of what they are in, such as `sources.trades.url`."""

    def names(self, mistake: str) -> str:
        """A mistake with the variable that set what is wrong, where one did: the file does not
        show it.
        """
        for where, variables in self.used.items():
            if _is_about(mistake, where) and not any(name in mistake for name in variables):
                return f"{mistake} ({_origin(variables)})"
        return mistake


def _origin(variables: Used) -> str:
    """Where something wrong is from."""
    names = [name for name, lacks in variables.items() if lacks is None]
    if names:
        return f"set by {', '.join(names)}"
    lacking = ", ".join(f"{name} {lacks}" for name, lacks in variables.items())
    return f"the default in the file: {lacking}"


def _is_about(mistake: str, where: str) -> bool:
    """Whether a mistake is of the key at this place."""
    if mistake.startswith((f"{where} = ", f"{where}: ", f"[{where}]: ")):
        return True
    return _unknown(mistake, where)


def _unknown(mistake: str, where: str) -> bool:
    """Whether it says that nobody knows this key, or one of the tables that it is in."""
    table, _, key = where.rpartition(".")
    if not table:
        return False
    return mistake.startswith(f"[{table}]: there is no key {key!r}") or _unknown(mistake, table)


def configured(path: Path, table: str, kind: str) -> dict[str, dict[str, Any]]:
    """The keys of each component of a kind, by its name, as the configuration in a file and the
    environment say together: for a command, which runs without a daemon. What a variable says is
    TOML as far as it is some. UserError for a file that cannot be read, and for what is wrong with
    a variable in one of these components; all else is for `flowd check` to say.
    """
    mistakes = Mistakes()
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    tables = _parsed(document(text, os.environ, mistakes).tables.get(table))
    components = tables if isinstance(tables, dict) else {}
    found = {
        name: keys
        for name, keys in components.items()
        if isinstance(keys, dict) and keys.get("kind") == kind
    }
    about = (*(f"{table}.{name}." for name in found), f"{PREFIX}{table.upper()}__")
    for mistake in mistakes.found:
        if mistake.startswith(about):
            raise UserError(f"{path}: {mistake}")
    return found


def _parsed(value: Any) -> Any:
    """The value without anything that is only given."""
    if isinstance(value, Given):
        parsed = value.parsed()
        return value.plain if isinstance(parsed, Given) else _parsed(parsed)
    if isinstance(value, dict):
        return {key: _parsed(one) for key, one in value.items()}
    return [_parsed(one) for one in value] if isinstance(value, list) else value


def document(text: str, environ: Mapping[str, str], mistakes: Mistakes) -> Document:
    """The tables that a TOML text and the environment write together. What is wrong is noted, and
    left out.
    """
    tables: dict[str, Any] = {}
    used: dict[str, Used] = {}
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        mistakes.found.append(f"not valid TOML: {error}")
    tables = _filled(tables, "", environ, used, mistakes)
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            with mistakes.noted():
                where = _set(tables, name, value)
                used[where] = {name: None}
    return Document(tables, used)


def _filled(
    value: Any,
    where: str,
    environ: Mapping[str, str],
    used: dict[str, Used],
    mistakes: Mistakes,
) -> Any:
    """The value with what its texts refer to in their places."""
    if isinstance(value, dict):
        filled: dict[str, Any] = {}
        for key, one in value.items():
            inner = f"{where}.{key}" if where else key
            with mistakes.noted():
                filled[key] = _filled(one, inner, environ, used, mistakes)
        return filled
    if isinstance(value, list):
        return [_filled(one, where, environ, used, mistakes) for one in value]
    if isinstance(value, str) and "${" in value:
        variables: Used = {}
        found = _replaced(value, where, environ, variables)
        if variables:
            used[where] = {**used.get(where, {}), **variables}
        return found
    return value


def _replaced(written: str, where: str, environ: Mapping[str, str], variables: Used) -> str:
    """A text with its references replaced, which are noted; UserError for one that cannot be."""
    references = 0

    def meant(match: re.Match[str]) -> str:
        nonlocal references
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise UserError(
                f'{where} = "{written}": expected "${{NAME}}" or "${{NAME:-default}}", the name of '
                'letters, digits and "_"; for a "${" of its own write "$${"'
            )
        references += 1
        found = environ.get(name)
        if default is not None and not found:
            variables[name] = "is not set" if found is None else "is empty"
            return default
        if found is None:
            raise UserError(
                f'{where} = "{written}": the environment variable {name} is not set; set it, or '
                f'write "${{{name}:-…}}" with what it is then'
            )
        variables[name] = None
        return found

    text = _REFERENCE.sub(meant, written)
    if not variables:
        return text
    name, lacks = next(iter(variables.items()))
    whole = written == f"${{{name}}}" or written.startswith(f"${{{name}:-")
    alone = references == 1 and whole and written.endswith("}") and lacks is None
    return Given(text, written=written, variable=name if alone else None)


def _set(tables: dict[str, Any], variable: str, value: str) -> str:
    """Set the key that a variable names; its place. UserError when it names none."""
    parts = variable.removeprefix(PREFIX).split("__")
    if not all(parts):
        raise UserError(
            f"{variable}: expected {PREFIX}KEY for a key of [flowd], or "
            f'{PREFIX}SOURCES__NAME__KEY; each "__" is a step into a table'
        )
    if parts[0].lower() not in (*TABLES, "pair"):
        parts.insert(0, "flowd")
    place: dict[str, Any] = tables
    path: list[str] = []
    for depth, part in enumerate(parts):
        name = _known(place, part, variable)
        if name is None:
            # A component's name is usually written with hyphens, a key with underscores.
            lower = part.lower()
            name = lower.replace("_", "-") if depth == 1 and path[0] in TABLES else lower
        path.append(name)
        if depth == len(parts) - 1:
            place[name] = Given(value, written=f"${{{variable}}}", variable=variable)
            break
        inner = place.setdefault(name, {})
        if isinstance(inner, Given):
            inner = place[name] = inner.parsed()
        if not isinstance(inner, dict):
            raise UserError(
                f"{variable}: {'.'.join(path)} is no table, so nothing in it can be set"
            )
        place = inner
    return ".".join(path)


def _known(place: Mapping[str, Any], part: str, variable: str) -> str | None:
    """The key that is there and that this part of a variable's name means."""
    meant = [key for key in place if _NOT_NAME.sub("_", key.upper()) == part.upper()]
    if len(meant) > 1:
        raise UserError(f"{variable}: may be each of {', '.join(meant)}; set it in the file")
    return meant[0] if meant else None
