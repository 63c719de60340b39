"""What must not be seen: the key, the session and the cursor, wherever a text of the server or of
an error may have them.
"""

import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SEEN_MAX = 4000
"""As much of a text is looked at for showing."""

_NAMES = "token|sessionId|cursor|apiKey|api_key|session_id"
_MEMBER = re.compile(rf"""(["'](?:{_NAMES})["']\s*:\s*)(["'])(?:\\.|(?!\2).)*""", re.DOTALL)
_PARAMETER = re.compile(rf"""((?:{_NAMES})=)[^&\s"'()]+""")
_CURSOR = re.compile(r"\b[0-9]+:[0-9]{12,14}(?::[0-9]+)?\b")


class Veil:
    """Hides the key and what `others` answers, in each form in which a text may have them."""

    def __init__(self, key: str, others: Callable[[], Iterable[str]]) -> None:
        self._key = key
        self._others = others

    def hide(self, text: str) -> str:
        """The text, fit to be shown, as far as anybody would read it."""
        forms: set[str] = set()
        for secret in (self._key, *(other for other in self._others() if len(other) > 3)):
            forms |= _forms(secret)
        longest = sorted(forms, key=len, reverse=True)
        long = len(text) > SEEN_MAX
        text = text[:SEEN_MAX]
        for form in longest:
            text = text.replace(form, HIDDEN)
        text = _MEMBER.sub(rf"\1\g<2>{HIDDEN}", text)
        text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
        text = _CURSOR.sub(HIDDEN, text)
        # Where it was cut, the beginning of a secret may stand.
        return text[: -len(longest[0])] if long else text

    def sample(self, value: object) -> "Sample":
        """A value for `feed.drop`, which hides only if it is logged."""
        return Sample(self, value)


class Sample:
    """A value whose `repr` may be shown."""

    def __init__(self, veil: Veil, value: object) -> None:
        self._veil = veil
        self._value = value

    def __repr__(self) -> str:
        try:
            return self._veil.hide(repr(self._value))
        except RecursionError:
            return type(self._value).__name__


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    } - {""}
