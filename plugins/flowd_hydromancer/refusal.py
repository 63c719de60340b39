"""When Hydromancer says no: in which class of trouble that is, and how long not to ask again."""

import re
from typing import Any, Literal

from flowd.plugin import UpstreamError

Class = Literal["limit", "permission", "subscription"]

LIMIT_PAUSE_S = 300.0
FINAL_PAUSE_S = 3600.0
"""After what only another key or another configuration can change."""
SAID_MAX = 5000

FRAGMENTS: dict[Class, tuple[str, ...]] = {
    "permission": (
        "requires permission",
        "permission limit reached",
        "authentication failed",
        "authentication timeout",
        "invalid api key",
        "unauthorized",
    ),
    "subscription": (
        "too many coins",
        "entity limit reached",
        "is not available for tier",
        "unknown subscription type",
    ),
    "limit": (
        "rate limit exceeded",
        "connection limit",
        "subscription limit reached",
        "subscription_limit_exceeded",
        "too many subscriptions",
    ),
}
"""What texts of each class contain, in lower case."""

_STATUS = re.compile(r"^refused with HTTP ([0-9]{3})\b")
_STATUSES: dict[int, Class] = {401: "permission", 403: "permission", 429: "limit"}


class Refused(UpstreamError):
    """The feed is refused, and Hydromancer is to be left alone for long."""

    def __init__(self, kind: Class, words: str) -> None:
        super().__init__(
            f"Hydromancer refuses ({kind}): {words}",
            retry_s=LIMIT_PAUSE_S if kind == "limit" else FINAL_PAUSE_S,
        )
        self.kind = kind


class Redial(UpstreamError):
    """Another connection is to be made at once."""


def kind_of(text: str) -> Class | None:
    """The class of a text that the server said; None when it is none that is known."""
    low = text.lower()
    for kind, fragments in FRAGMENTS.items():
        if any(fragment in low for fragment in fragments):
            return kind
    return None


def status_of(error: UpstreamError) -> int | None:
    """The HTTP status that a handshake was refused with."""
    match = _STATUS.match(str(error))
    return None if match is None else int(match[1])


def kind_of_end(error: UpstreamError) -> Class | None:
    """The class of what ended a connection: a status, or the words of a close frame."""
    status = status_of(error)
    if status is not None:
        return _STATUSES.get(status)
    return kind_of(str(error)) if str(error).startswith("closed by upstream") else None


def words(*parts: Any) -> str:
    """What the server said, in one line; Any is what servers send."""
    said = ": ".join(plainly(part) for part in parts if part not in (None, "", [], {}))
    return " ".join(said.split()) or "no reason given"


def plainly(part: Any) -> str:
    """A value in words, however it is made."""
    try:
        return str(part)[:SAID_MAX]
    except RecursionError:
        return type(part).__name__


def names(entries: Any) -> set[str]:
    """The types in a list of subscriptions, each a text or an object; Any is what servers send."""
    found = entries if isinstance(entries, list) else [entries]
    return {name for entry in found if (name := _name(entry)) is not None}


def reasons(failed: Any) -> str:
    """What the objects in a list of refused subscriptions give as their reason."""
    found = [entry for entry in failed if isinstance(entry, dict)] if failed else []
    keys = ("code", "error", "reason", "message")
    return " ".join(plainly(entry[key]) for entry in found for key in keys if key in entry)


def _name(entry: Any) -> str | None:
    if isinstance(entry, dict):
        inner = entry.get("subscription")
        entry = inner.get("type") if isinstance(inner, dict) else inner or entry.get("type")
    return entry if isinstance(entry, str) else None
