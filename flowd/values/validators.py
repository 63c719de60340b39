"""Checks that the settings of several kinds need: for `attrs.field(validator=...)`. Each raises a
ValueError that names the setting and says what would have been right.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute

from flowd.values.settings import seconds

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def websocket_url(_: object, attribute: "Attribute[Any]", url: str) -> None:
    """An address of a WebSocket. The setting's default, if it has one, is shown as an example."""
    _check_url(attribute, url, ("ws", "wss"))


def http_url(_: object, attribute: "Attribute[Any]", url: str) -> None:
    """An address of an HTTP service. The setting's default, if it has one, is shown as an
    example.
    """
    _check_url(attribute, url, ("http", "https"))


def _check_url(attribute: "Attribute[Any]", url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        # A port that is none raises where it is asked for.
        fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        default = attribute.default
        example = default if isinstance(default, str) else f"{schemes[-1]}://host/path"
        raise ValueError(f'{attribute.name} = "{url:.80}": expected an address such as "{example}"')


def symbols(pattern: str, wrong: str, *, most: int, wildcard: str = "") -> Validator:
    """A list of at most `most` symbols, all of which the pattern fits; `wrong` goes on with "'BTC
    USDT' is ...". `["*"]` is for all of them, unless `wildcard` says why there is no such thing.
    """
    fits = re.compile(pattern).fullmatch

    def check(_: object, attribute: "Attribute[Any]", names: list[str]) -> None:
        name = attribute.name
        all_of_them = "" if wildcard else '["*"] for all'
        if not names:
            other = all_of_them and f", or {all_of_them}"
            raise ValueError(f"{name} = []: name at least one symbol{other}")
        if "*" in names and wildcard:
            raise ValueError(f'{name}: {wildcard}; "*" cannot be here')
        if names == ["*"]:
            return
        if "*" in names:
            raise ValueError(f'{name}: "*" already means all; leave the others out')
        if len(names) > most:
            other = all_of_them and f"; use {all_of_them}"
            raise ValueError(f"{name}: {len(names)} are too many, at most {most} fit{other}")
        for one in names:
            if not fits(one):
                raise ValueError(f"{name}: {one!r:.80} is {wrong}")

    return check


def between(low: str | int, high: str | int, why: str = "") -> Validator:
    """A number between these, both included; of durations, as they are written: `"1m"`, `"24h"`."""
    least, most = (seconds(one) if isinstance(one, str) else one for one in (low, high))

    def check(_: object, attribute: "Attribute[Any]", value: float) -> None:
        if not least <= value <= most:
            shown = f"{value:g}s" if isinstance(low, str) else f"{value}"
            because = why and f"; {why}"
            raise ValueError(f"{attribute.name} = {shown}: expected {low} to {high}{because}")

    return check
