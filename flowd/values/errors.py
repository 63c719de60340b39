"""All that can go wrong without being a bug: what a user got wrong, and what an upstream did."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

SHOWN_MAX = 50
"""Of a list that a client sent, so many parts are shown to it in an error."""


class UserError(Exception):
    """Something a person wrote cannot work. The message says what came, what was expected, what to
    do. Several at once are several messages, each a line.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)

    def __str__(self) -> str:
        return "\n".join(self.all)

    @property
    def all(self) -> list[str]:
        """Each thing that is wrong, in a sentence."""
        return [line for message in self.args for line in str(message).splitlines()]


class NotSet(UserError, ValueError):
    """A secret that somebody refers to has no value: it will not have one before the next start, so
    a component that dies of this is not started again.
    """


class Mistakes:
    """Collects what is wrong, so that all of it is told at once instead of one at a time."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What is done here may be wrong: a UserError is kept, and the next thing looked at."""
        try:
            yield
        except UserError as error:
            self.found += error.all

    def tell(self) -> None:
        """UserError with all that was found; nothing happens when nothing was."""
        if self.found:
            raise UserError(*self.found)


class UpstreamError(Exception):
    """An upstream failed us: weather, not a bug. Costs one warning line and a restart of the
    source, not before `retry_s` if that is given.
    """

    def __init__(self, message: str = "", *, retry_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class UpstreamSilent(UpstreamError):
    """An upstream connection is open and says nothing."""


class Unusable(ValueError):
    """Something that an upstream told and that must not be published. `reason` is what it is
    counted by: a few words, the same for all of its kind.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(Exception):
    """A client asked for something that does not exist or cannot be.

    `parameter` and `value` are what the client sent, `allowed` what would have worked (words or one
    sentence), `code` a stable word for programs, `status` the HTTP status that fits.
    """

    def __init__(
        self,
        message: str,
        *,
        parameter: str,
        value: object = None,
        allowed: Sequence[str] | str = (),
        code: str = "BAD_PARAMETER",
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.value = value
        self.allowed = allowed
        self.code = code
        self.status = status
        self.id: str | int | None = None
        """What the client called its request, if it gave it a name."""

    def body(self) -> dict[str, object]:
        """The JSON object that tells the client, the same over HTTP and WebSocket."""
        allowed = self.allowed if isinstance(self.allowed, str) else list(self.allowed)
        body: dict[str, object] = {
            "code": self.code,
            "message": str(self),
            "parameter": self.parameter,
            "value": _shown(self.value),
            "allowed": allowed,
        }
        return body if self.id is None else {**body, "id": self.id}


def _shown(value: object) -> object:
    """What a client sent, as it is told to it again: not all that is nested in it, which may be
    deep.
    """
    if isinstance(value, list):
        return [_plain(part) for part in value[:SHOWN_MAX]]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in list(value.items())[:SHOWN_MAX]}
    return _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value[: SHOWN_MAX * 10]
    return value if value is None or isinstance(value, int | float) else "…"


def nearest(wrong: str, known: Sequence[str]) -> list[str]:
    """The one name that somebody may have meant; empty where none is near."""
    return difflib.get_close_matches(wrong, known, 1)


def suggestion(wrong: str, known: Sequence[str]) -> str:
    """How a message about a name that does not exist may end: with the nearest one, where one is
    near.
    """
    return "".join(f'. Did you mean "{close}"?' for close in nearest(wrong, known))


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """How it ends where all names can be told: with the nearest one, else with all."""
    return suggestion(wrong, known) or f"; there are: {', '.join(known) or 'none'}"


def unwrap(error: BaseException) -> BaseException:
    """The one exception inside nested groups of one: nurseries wrap, readers should not see it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
