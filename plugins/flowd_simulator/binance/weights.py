"""The exchange's patience: request weight per minute, and what comes once it is used up."""

from typing import Final

from attrs import frozen

from flowd_simulator.intervals import MINUTE_MS
from flowd_simulator.session import Clock

BAN_MS: Final = 2 * MINUTE_MS
WARNINGS: Final = 5
"""So many refusals within a minute; then comes the ban."""
HISTORY_WINDOW_MS: Final = 5 * MINUTE_MS
HISTORY_CALLS_MAX: Final = 1000


@frozen
class Refused:
    """An answer that is no answer."""

    status: int
    retry_after_s: int | None = None

    def body(self, now_ms: int) -> dict[str, object] | str:
        """What stands in it: JSON, but HTML where a firewall answers."""
        until_ms = now_ms + 1000 * (self.retry_after_s or 0)
        match self.status:
            case 403:
                return "<html><head><title>403 Forbidden</title></head><body></body></html>"
            case 408:
                return {"code": -1007, "msg": "Timeout waiting for response from backend server."}
            case 418:
                return {
                    "code": -1003,
                    "msg": f"Way too much request weight used; IP banned until {until_ms}. "
                    "Please use WebSocket Streams for live updates to avoid bans.",
                }
            case 429:
                return {
                    "code": -1003,
                    "msg": "Too many requests. Please use WebSocket Streams for live updates.",
                }
            case 451:
                return {"code": 0, "msg": "Service unavailable from a restricted location."}
            case _:
                return {"code": -1001, "msg": "Internal error; unable to process your request."}


class Weights:
    """Counts what was asked. There is one count, since all clients come from one address."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self.used = 0
        self._clock = clock
        self.limit = limit
        self._minute = 0
        self._warned = 0
        self._banned_until_ms = 0
        self._history_window = 0
        self._history_calls = 0

    def spend(self, weight: int) -> Refused | None:
        """Count a request, and say if it is one too many."""
        now_ms = self._clock()
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self.used, self._warned = now_ms // MINUTE_MS, 0, 0
        if now_ms < self._banned_until_ms:
            return Refused(418, _seconds(self._banned_until_ms - now_ms))
        self.used += weight
        if self.used <= self.limit:
            return None
        self._warned += 1
        if self._warned > WARNINGS:
            self._banned_until_ms = now_ms + BAN_MS
            return Refused(418, _seconds(BAN_MS))
        return Refused(429, _seconds(MINUTE_MS - now_ms % MINUTE_MS))

    def spend_history(self) -> Refused | None:
        """The same for the open interest history, which has a count of its own."""
        now_ms = self._clock()
        if now_ms // HISTORY_WINDOW_MS != self._history_window:
            self._history_window, self._history_calls = now_ms // HISTORY_WINDOW_MS, 0
        self._history_calls += 1
        if self._history_calls <= HISTORY_CALLS_MAX:
            return None
        return Refused(429, _seconds(HISTORY_WINDOW_MS - now_ms % HISTORY_WINDOW_MS))


def _seconds(time_ms: int) -> int:
    return -(-time_ms // 1000)
