"""The path below which a proxy has the daemon, `/flowd`: an address with it and one without mean
the same, so that it makes no difference whether the proxy takes it away.
"""

import re
from typing import Any

_BASE = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")


def check(_: object, attribute: Any, value: str) -> None:
    """ValueError for what is no such path; none at all is one."""
    if value and _BASE.fullmatch(value) is None:
        raise ValueError(
            f'{attribute.name} = "{value}": expected a path such as "/flowd", with "/" in '
            'front and none behind, of letters, digits, "-", "_", "." and "~"; or "" for none'
        )


def stripped(target: bytes, base: bytes) -> bytes:
    """What a request asks for, without the base where it has it."""
    if not base or not target.startswith(base):
        return target
    rest = target[len(base) :]
    if not rest.startswith((b"/", b"?")):
        # What only begins like it is another path.
        return target if rest else b"/"
    return b"/" + rest if rest.startswith(b"?") else rest


def takes(base: str, path: str) -> bool:
    """Whether requests for this path of ours would be taken for others, which have the base."""
    return bool(base) and (path == base or path.startswith(base + "/"))
