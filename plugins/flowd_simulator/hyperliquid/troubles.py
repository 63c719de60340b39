"""What `/info` answers in place of a good answer where it fails."""

from collections.abc import Callable
from typing import Final

from attrs import evolve

from flowd_simulator.door import JSON, Answer
from flowd_simulator.faults import InfoFault
from flowd_simulator.hyperliquid.terms import BAD_GATEWAY, PLAIN, TOO_MUCH

RETRY_AFTER_S: Final = 2
HUGE: Final = 32 * 1024 * 1024
"""Bytes: more than anybody should read."""


def _truncated(good: Answer) -> Answer:
    return evolve(good, body=good.body[: len(good.body) // 2])


ANSWERS: Final[dict[InfoFault, Callable[[Answer], Answer]]] = {
    InfoFault.limited: lambda good: TOO_MUCH,
    InfoFault.limited_until: lambda good: evolve(
        TOO_MUCH, headers=(("Retry-After", str(RETRY_AFTER_S)),)
    ),
    InfoFault.truncated: _truncated,
    InfoFault.huge: lambda good: Answer(200, b"[" + b" " * HUGE + b"]", JSON),
    InfoFault.page: lambda good: evolve(BAD_GATEWAY, status=200),
    InfoFault.bad_gateway: lambda good: BAD_GATEWAY,
    InfoFault.error: lambda good: Answer(500, b"Internal Server Error", PLAIN),
}
"""The others do not answer at all."""
