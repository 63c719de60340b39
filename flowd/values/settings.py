"""The types a setting may have beyond text and numbers: durations, sizes, streams' names, secrets.
Written `"5s"`, `"16MiB"`, `"force-orders"`, `{ env = "NAME" }`. And what the environment gives.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, NewType

from attrs import field, frozen

from flowd.values.errors import NotSet

Seconds = NewType("Seconds", float)
"""A duration: `"250ms"`, `"5s"`, `"15m"`, `"24h"`, `"7d"`, or a number of seconds."""

Size = NewType("Size", int)
"""A number of bytes: `"128KiB"`, `"16MiB"`, `"1GiB"`, or a plain number."""

StreamName = NewType("StreamName", str)
"""The name of a stream that the component reads. By this type, wherever it stands in a setting's,
flowd knows which streams must be there and carry what is read, whose writers start before, and
which are closed for the component to finish when the daemon stops.
"""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_B = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2}
_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)", re.ASCII)


def seconds(value: object) -> Seconds:
    """A duration as written; ValueError that shows how."""
    return Seconds(_amount(value, _UNITS_S, "s", 'a duration such as "5s", "15m" or "24h"'))


def size(value: object) -> Size:
    """A size as written; ValueError that shows how."""
    return Size(int(_amount(value, _UNITS_B, "B", 'a size such as "128KiB" or "16MiB"')))


def _amount(value: object, units: dict[str, float] | dict[str, int], plain: str, how: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value < 1e12:
            return float(value)
    elif isinstance(value, str):
        match = _AMOUNT.fullmatch(value.strip())
        if match is not None and (match[2] or plain) in units:
            return float(match[1]) * units[match[2] or plain]
    raise ValueError(f"expected {how}, got {value!r}")


class Given(str):
    """A text of which the environment gave something: what it is, and how the file `written` it,
    which alone is ever shown. `variable` is the one that all of it is from, if it is.

    A variable has no type. So it is what its key may be: TOML as far as it is some, else text.
    """

    written: str
    variable: str | None

    def __new__(cls, text: str, *, written: str, variable: str | None = None) -> "Given":
        """One text, and how it is written."""
        made = super().__new__(cls, text)
        made.written, made.variable = written, variable
        return made

    def __repr__(self) -> str:
        return f'"{self.written}"'

    @property
    def plain(self) -> str:
        """The text itself, which shows."""
        return str(self)

    def parsed(self) -> Any:
        """What it is as a value of TOML, its decimals as texts, which lose no digit; itself where
        it is no TOML.
        """
        try:
            found = tomllib.loads(f"value = {self.plain}", parse_float=str)
        except tomllib.TOMLDecodeError:
            return self
        # A text of several lines may have been more than a value.
        value = found.pop("value")
        if found:
            return self
        if isinstance(value, str):
            return Given(value, written=self.written, variable=self.variable)
        return value


@frozen
class Secret:
    """A value that never shows in logs, status or errors. `reveal` is the only way to read it.

    In the configuration: `{ env = "NAME" }`, `{ file = "/path" }` or `{ credential = "name" }`
    (systemd's LoadCredential), or `"${NAME}"` as any other. Written there in plain it is refused.
    """

    source: str
    _value: str | None = field(default=None, repr=False, alias="value")

    def reveal(self) -> str:
        """The secret itself; `NotSet`, a UserError and a ValueError, that says where it was looked
        for.
        """
        if self._value is None:
            raise NotSet(f"{self.source} is not set")
        return self._value

    @property
    def available(self) -> bool:
        """Whether there is a value."""
        return self._value is not None

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def secret(value: object) -> Secret:
    """A secret as the configuration refers to it; ValueError that shows how."""
    how = '{ env = "NAME" }, { file = "/path" } or { credential = "name" }'
    if isinstance(value, Given) and value.variable is not None:
        return Secret(f"environment variable {value.variable}", value.plain.strip() or None)
    if isinstance(value, str):
        raise ValueError(f"a secret does not belong into this file; refer to it by {how}")
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"expected {how}")
    ((place, name),) = value.items()
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected {how}")
    if place == "env":
        return Secret(f"environment variable {name}", os.environ.get(name) or None)
    if place == "file":
        return Secret(f"file {name}", _content(Path(name)))
    if place == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        found = _content(Path(folder) / name) if folder else None
        return Secret(f"systemd credential {name}", found)
    raise ValueError(f"expected {how}")


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
