"""How the simulated exchange misbehaves, and the broken frames it can send.

Exchanges do all of this now and then, but never while one is watching. Here it can be had on
demand, by a rate, by the clock, or at a word in a test.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from random import Random
from typing import Any, Final

import trio
from attrs import define, field

logger = logging.getLogger(__name__)


class InfoFault(StrEnum):
    """How `/info` fails: 429, without and with `Retry-After`; no answer; a cut connection; half an
    answer; 32 MiB; a page of HTML as 200 and as 502; 500.
    """

    limited = "limited"
    limited_until = "limited-until"
    silent = "silent"
    cut = "cut"
    truncated = "truncated"
    huge = "huge"
    page = "page"
    bad_gateway = "bad-gateway"
    error = "error"


TELL_S: Final = 60.0
"""What all exchanges send broken or twice is told in one line, so often."""
Json = dict[str, Any]  # Any: frames of every shape come by
Spoil = Callable[[str], str]


@define
class Faults:
    """What goes wrong now. Every field may be changed while the exchange runs, but for the periods
    `drop_every_s`, `stall_every_s` and `info_every_s`, which are read when it starts."""

    drop_every_s: float | None = None
    """Cut all connections, without a goodbye, so often."""
    stall_every_s: float | None = None
    """Fall silent so often, with connections open, for `stall_for_s`."""
    stall_for_s: float = 90.0
    garbage: float = 0.0
    """Share of the frames which have a broken one sent before them."""
    duplicate: float = 0.0
    """Share of the frames which are sent twice."""
    slow_s: float = 0.0
    """Every frame, and every answer of Hyperliquid's `/info`, arrives so much later."""
    info: InfoFault | None = None
    """How Hyperliquid's `/info` fails now."""
    info_every_s: float | None = None
    """Have it fail as `info` says only so often, for `info_for_s`."""
    info_for_s: float = 30.0
    stalled: bool = False
    _sent: Counter[str] = field(factory=Counter, init=False, repr=False)
    """How many frames were sent doubled or broken and not yet told of."""

    async def run(self, who: str, cut: Callable[[], int]) -> None:
        """Let happen what is due by the clock, for ever; `cut` cuts all connections and says how
        many there were.
        """
        if self.slow_s:
            logger.info("%s holds back all that it says for %gs, on purpose", who, self.slow_s)
        if self.info is not None and self.info_every_s is None:
            logger.info("/info of %s fails all the time, on purpose: %s", who, self.info)
        async with trio.open_nursery() as nursery:
            if self.drop_every_s is not None:
                nursery.start_soon(self._cut_every, self.drop_every_s, who, cut)
            if self.stall_every_s is not None:
                nursery.start_soon(self._stall_every, self.stall_every_s, who)
            if self.info is not None and self.info_every_s is not None:
                nursery.start_soon(self._fail_every, self.info_every_s, self.info, who)

    async def _cut_every(self, period_s: float, who: str, cut: Callable[[], int]) -> None:
        while True:
            await trio.sleep(period_s)
            logger.info("cutting %d connections of %s, as scheduled", cut(), who)

    def take_sent(self) -> dict[str, int]:
        """How many frames were sent doubled or broken on purpose since this was asked last."""
        sent, self._sent = self._sent, Counter()
        return dict(sent)

    async def _stall_every(self, period_s: float, who: str) -> None:
        while True:
            await trio.sleep(period_s)
            logger.info("%s falls silent for %gs, as scheduled", who, self.stall_for_s)
            self.stalled = True
            await trio.sleep(self.stall_for_s)
            self.stalled = False

    async def _fail_every(self, period_s: float, how: InfoFault, who: str) -> None:
        while True:
            self.info = None
            await trio.sleep(period_s)
            logger.info("/info of %s fails for %gs, as scheduled: %s", who, self.info_for_s, how)
            self.info = how
            await trio.sleep(self.info_for_s)

    def frames(
        self, text: str, random: Random, garbage: Mapping[str, Spoil] | None = None
    ) -> list[str]:
        """What is sent in place of one good frame. The good one is always among them.

        `garbage` are the ways of breaking a frame, by name; GARBAGE unless given.
        """
        frames = [text]
        if self.duplicate and random.random() < self.duplicate:
            frames.append(text)
            self._sent["doubled"] += 1
        if self.garbage and random.random() < self.garbage:
            ways = GARBAGE if garbage is None else garbage
            way = random.choice(tuple(ways))
            frames.insert(0, ways[way](text))
            self._sent["broken"] += 1
        return frames


async def tell(exchanges: Mapping[str, Faults], period_s: float = TELL_S) -> None:
    """Say once what goes wrong with frames on purpose, and then how often it did: for ever, in one
    line each period for all exchanges, by their names, and none where nothing did.
    """
    shares = {(one.garbage, one.duplicate) for one in exchanges.values()}
    for garbage, duplicate in sorted(shares):
        parts = {"broken": garbage, "doubled": duplicate}
        words = [f"1 frame in {1 / share:.3g} is {what}" for what, share in parts.items() if share]
        if words:
            both = ", ".join(words)
            logger.info("on purpose %s: how often it happened is told every %gs", both, period_s)
    while True:
        await trio.sleep(period_s)
        counts = {name: one.take_sent() for name, one in exchanges.items()}
        told = [
            f"{name} {', '.join(f'{count} {what}' for what, count in sorted(sent.items()))}"
            for name, sent in counts.items()
            if sent
        ]
        if told:
            logger.info("on purpose within %gs: %s", period_s, "; ".join(told))


def spoil(kind: str, text: str) -> str:
    """A broken frame made from a good one; `kind` is one of GARBAGE."""
    return GARBAGE[kind](text)


def _changed(text: str, change: Callable[[Json, Json], None]) -> str:
    """The frame after a change to its event and to the object that holds the event's numbers."""
    frame = json.loads(text)
    event = frame.get("data", frame) if isinstance(frame, dict) else frame
    event = event[0] if isinstance(event, list) else event
    change(event, event.get("o") or event.get("k") or event)
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def _not_numbers(text: str) -> str:
    def change(event: Json, inner: Json) -> None:
        inner.update({"p": float("nan"), "ap": float("nan"), "z": float("inf"), "c": float("inf")})

    return _changed(text, change)


def _not_number_texts(text: str) -> str:
    def change(event: Json, inner: Json) -> None:
        inner.update({"p": "NaN", "ap": "NaN", "z": "Infinity", "c": "-Infinity"})

    return _changed(text, change)


def _unknown_side(text: str) -> str:
    def change(event: Json, inner: Json) -> None:
        inner.update({"S": "HOLD", "s": "NOBODYUSDT"})

    return _changed(text, change)


def _missing_fields(text: str) -> str:
    def change(event: Json, inner: Json) -> None:
        for name in ("s", "S", "ap", "p", "z", "t"):
            inner.pop(name, None)

    return _changed(text, change)


def _unknown_event(text: str) -> str:
    def change(event: Json, inner: Json) -> None:
        event["e"] = "brandNewEvent"

    return _changed(text, change)


NONSENSE: Final[dict[str, Spoil]] = {
    "html": lambda text: "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "array": lambda text: "[1,null,[]]",
    "null": lambda text: "null",
}
"""What is no message of any exchange."""

GARBAGE: Final[dict[str, Spoil]] = {
    **NONSENSE,
    "not-numbers": _not_numbers,
    "not-number-texts": _not_number_texts,
    "unknown-side": _unknown_side,
    "missing-fields": _missing_fields,
    "unknown-event": _unknown_event,
}
