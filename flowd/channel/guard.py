"""The one way to call what a sink brought, on a client's behalf: whatever it does, it costs that
client and no other.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from flowd.values.errors import BadRequest
from flowd.values.record import Batch

logger = logging.getLogger("flowd.sinks")

R = TypeVar("R")

LOG_EVERY_S = 60.0


class SinkFailed(Exception):
    """A sink's own code raised. It has been logged; whoever called lets the client go, or answers
    500.
    """


class Guard:
    """Calls a sink's `encode`, `warn`, `heartbeat`, `error`, `open`, `receive`, `render`, `tail`
    and the like.

    What a call raises becomes `SinkFailed`, and is logged with its traceback once a minute for each
    callback, however often it fails. A `BadRequest` passes where a client is being answered
    (`ask`), and is a failure like any other where it is not (`call`).
    """

    def __init__(self) -> None:
        self.failures = 0
        self._quiet_until: dict[tuple[str, str], float] = {}

    def call(self, who: str, what: str, callback: Callable[..., R], *args: Any) -> R:
        """The callback's answer; SinkFailed when it raised. `who` is the path or stream, `what` the
        callback's name: they go into the log.
        """
        try:
            return callback(*args)
        except (Exception, SystemExit) as error:
            raise self._failed(who, what, error) from error

    def ask(self, who: str, what: str, callback: Callable[..., R], *args: Any) -> R:
        """The same for callbacks that may refuse what a client wants: their BadRequest passes."""
        try:
            return callback(*args)
        except BadRequest:
            raise
        except (Exception, SystemExit) as error:
            raise self._failed(who, what, error) from error

    async def wait(self, who: str, what: str, answer: Awaitable[R]) -> R:
        """What an async callback comes to; what it raises is dealt with as by `ask`."""
        try:
            return await answer
        except BadRequest:
            raise
        except (Exception, SystemExit) as error:
            raise self._failed(who, what, error) from error

    def payloads(
        self, who: str, encode: Callable[[Batch[Any]], bytes | list[bytes]], batch: Batch[Any]
    ) -> list[bytes]:
        """A batch in the sink's words: one payload for each message."""
        return self.call(who, "encode", _payloads, encode, batch)

    def payload(self, who: str, what: str, callback: Callable[..., bytes], *args: Any) -> bytes:
        """One payload of a sink's own."""
        return self.call(who, what, _payload, callback, *args)

    def _failed(self, who: str, what: str, error: BaseException) -> SinkFailed:
        self.failures += 1
        now = trio.current_time()
        if self._quiet_until.get((who, what), now) <= now:
            self._quiet_until[who, what] = now + LOG_EVERY_S
            logger.error(
                "%s: a sink's %s failed (%d failures so far); it costs the client that asked: %r",
                *(who, what, self.failures, error),
                exc_info=error,
            )
        return SinkFailed(f"{who}: {what}")


def _payloads(
    encode: Callable[[Batch[Any]], bytes | list[bytes]], batch: Batch[Any]
) -> list[bytes]:
    made = encode(batch)
    if isinstance(made, bytes):
        return [made]
    if isinstance(made, list) and all(isinstance(part, bytes) for part in made):
        return made
    raise TypeError(f"expected bytes or a list of bytes, got {made!r:.60}")


def _payload(callback: Callable[..., bytes], *args: Any) -> bytes:
    made = callback(*args)
    if not isinstance(made, bytes):
        raise TypeError(f"expected bytes, got {made!r:.60}")
    return made
