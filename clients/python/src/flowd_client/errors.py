"""What trying again does not mend, in words that name the mistake and the remedy."""

from typing import Any

import msgspec

MAY_PASS = frozenset({408, 425, 429})
"""Answers below 500 after which it is worth while to come again."""


class FlowdError(Exception):
    """Following has ended, and would end the same way if it were begun again unchanged."""


class BadAddress(FlowdError):
    """This address, or what answers there, is no flowd."""


class Unfit(FlowdError):
    """A record's value does not fit what the caller said it is `of`."""


class Refused(FlowdError):
    """The daemon does not give what was asked for.

    `status` is HTTP's. `code`, `parameter`, `value` and `allowed` are the daemon's own words, where
    it has some: what was wrong, and what would have been right.
    """

    def __init__(self, url: str, status: int, said: dict[str, Any], *, token: bool) -> None:
        self.url = url
        self.status = status
        self.code: str | None = said.get("code")
        self.message = str(said.get("message") or f"answered with {status}")
        self.parameter: str | None = said.get("parameter")
        self.value: object = said.get("value")
        self.allowed: object = said.get("allowed")
        super().__init__(f"{url}: {self.message}; {self._remedy(token)}")

    def _remedy(self, token: bool) -> str:
        if self.status < 400:
            return "give the address that it sends us to"
        if self.status == 401 and not token:
            return "give the token that it is read with, as token=..."
        if self.status == 401:
            return "ask who runs the daemon for the read_token of this stream"
        if self.status == 403:
            return "the daemon, or a proxy before it, does not let us read there"
        if self.status == 404 and self.code != "UNKNOWN_STREAM":
            return 'is this the address of a flowd, and has it a sink of kind "sse"?'
        if isinstance(self.allowed, list):
            return f"it may be {', '.join(map(str, self.allowed))}"
        return f"it may be {self.allowed}" if self.allowed else "the request has to be another one"


def refused(url: str, status: int, body: bytes, *, token: bool) -> Refused:
    """What an answer says; a body that is not the daemon's says nothing."""
    try:
        said = msgspec.json.decode(body)["error"]
    except (msgspec.MsgspecError, LookupError, TypeError):
        said = {}
    return Refused(url, status, said if isinstance(said, dict) else {}, token=token)


def may_pass(status: int) -> bool:
    """Whether an answer is about now, and not about what was asked for."""
    return status >= 500 or status in MAY_PASS
