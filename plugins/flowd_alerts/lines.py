"""Alert lines: prices that somebody drew on a chart, which the daemon keeps and watches.

Here is what a line is, what is said when a price was there, and what may be asked. `watching` looks
at prices; `lines_http` brings what admins ask.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from attrs import field, frozen

from flowd.plugin import BadRequest, Seconds, StreamName, codec
from flowd_alerts.crossing import Step, Way

LINES_MAX = 2000
"""The most that `most` may be."""
SYMBOL_LINES_MAX = 20
"""Lines of one symbol."""
SYMBOL_MAX, TEXT_MAX = 40, 40
"""Characters."""
ASK_MAX = 200
"""Characters of what may be asked of a component."""
SPAN_MS = 5000
"""What happened within so long happened at one time, as far as people are told."""
HYSTERESIS_MAX = Decimal("0.5")

Direction = Literal["up", "down", "both"]
DIRECTIONS = ("up", "down", "both")
Side = Literal["above", "below", "on"]
State = Literal["watched", "reached", "blind"]

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?", re.ASCII)


def _share(_: object, attribute: Any, value: Decimal) -> None:
    if not 0 <= value <= HYSTERESIS_MAX:
        raise ValueError(
            f"hysteresis = {value}: expected a share of the price from 0 to {HYSTERESIS_MAX}, "
            "such as 0.001"
        )


@frozen
class Config:
    """`input` or `inputs` are streams of candles, trades or fills. A line is watched in the first
    of them that knows its symbol.

    At most `most` lines are kept. `hysteresis` is for lines that say none: as a share of the price,
    how far it must have gone from a line before one that repeats is armed again. After `stale`
    without a price none is known.
    """

    input: StreamName | None = None
    inputs: list[StreamName] = field(factory=list, kw_only=True)
    most: int = 200
    hysteresis: Decimal = field(default=Decimal("0.001"), validator=_share)
    stale: Seconds = Seconds(600.0)

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ValueError("neither input nor inputs: name a stream of candles, trades or fills")
        if not 1 <= self.most <= LINES_MAX:
            raise ValueError(f"most = {self.most}: expected 1 to {LINES_MAX} lines")
        if self.stale < 30:
            raise ValueError(f'stale = "{self.stale:g}s": expected "30s" or more')

    @property
    def names(self) -> list[str]:
        """All streams that are looked at, each once, in order."""
        return list(dict.fromkeys([*([self.input] if self.input else []), *self.inputs]))


@frozen
class AlertLine:
    """A price that is watched; a table, by `id`.

    `direction` says from where the price must come: `up` from below, `down` from above. `side` is
    where it was when the line was set, at `set_ms`; None when it was not known. The first time it
    comes the line has been `reached`, unless it is to `repeat`: then it is `armed` again when the
    price has gone `hysteresis` (a share of it) away, for `up` below the line, for `down` above,
    for `both` on either side. `fired` counts, `fired_ms` is when it was there last. While it is
    `blind` no price is known, since `known_ms`. `input` is the stream that it is watched in, `text`
    a word of who set it. One that is `removed` is told for a day.
    """

    id: str
    symbol: str
    price: Decimal
    direction: Direction
    repeat: bool
    hysteresis: Decimal
    text: str
    input: str
    side: Side | None
    set_ms: int
    state: State = "watched"
    armed: bool = True
    fired: int = 0
    fired_ms: int | None = None
    known_ms: int | None = None
    removed: bool = False


@frozen
class LineAlert:
    """The price came to a line, or over it, which way `direction` says.

    `price` is the line's, `before` and `value` what the price was and is. It happened between
    `from_ms` and `time_ms`; where these are different, it is not known more exactly, and `blind`
    says that no price was known for a while in between. `fired` counts the times of this line.
    """

    symbol: str
    line: str
    price: Decimal
    direction: Way
    before: Decimal
    value: Decimal
    from_ms: int
    time_ms: int
    blind: bool
    fired: int
    label: str
    text: str
    input: str


@frozen
class Answered:
    """What became of something that was asked: the line, or why not. By `asked`."""

    asked: str
    line: str
    code: str = ""
    status: int = 200
    message: str = ""
    parameter: str = ""
    value: str = ""
    allowed: tuple[str, ...] = ()


@frozen
class Wanted:
    """What somebody wants a line to be; None for what is to stay as it is, or is by default."""

    symbol: str | None = None
    price: str | None = None
    direction: Direction | None = None
    repeat: bool | None = None
    hysteresis: str | None = None
    text: str | None = None
    input: str | None = None


@frozen
class Ask:
    """Something asked of the component that keeps the lines: to `add` one, to `change` or to
    `remove` that with this `id`. The answer has the name `asked`.
    """

    asked: str
    what: str
    id: str = ""
    wanted: Wanted = field(factory=Wanted)

    def written(self) -> str:
        """As it is asked; BadRequest when it is too long for that."""
        wanted = self.wanted
        parts = [wanted.symbol, wanted.price, wanted.direction, wanted.repeat, wanted.hysteresis]
        found = codec.encode(
            [self.asked, self.what, self.id, *parts, wanted.text, wanted.input]
        ).decode()
        if len(found) > ASK_MAX:
            raise BadRequest(
                "symbol, text and input are too long together",
                parameter="text",
                value=wanted.text,
                allowed=f"{len(found) - ASK_MAX} characters less",
            )
        return found

    @classmethod
    def read(cls, text: str) -> "Ask":
        """What was written; ValueError for anything else, which is nobody's who keeps the rules."""
        found = codec.decode(text)
        if not isinstance(found, list) or len(found) != 10:
            raise ValueError(f"not an ask: {text!r:.60}")
        asked, what, id, *parts = found
        for name, part in zip(FIELDS, parts, strict=True):
            if part is not None and not _fits(name, part):
                raise ValueError(f"{name} = {part!r:.60}")
        return cls(str(asked), str(what), str(id), Wanted(*parts))


FIELDS = ("symbol", "price", "direction", "repeat", "hysteresis", "text", "input")


def wanted(body: bytes, *, new: bool) -> Wanted:
    """What a client says a line is to be; BadRequest names what is wrong with it."""
    try:
        found = codec.decode(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadRequest(
            "the body is no JSON object",
            parameter="body",
            allowed='{"symbol": "BTCUSDT", "price": "68000"}',
        )
    fields = FIELDS if new else tuple(name for name in FIELDS if name not in ("symbol", "input"))
    for name in found:
        if name not in fields:
            raise BadRequest(
                f"a line has no {name!r:.60}" if name not in FIELDS else f"{name} stays as it is",
                parameter=name[:60],
                allowed=fields,
            )
    for name in ("symbol", "price") if new else ():
        if name not in found:
            raise BadRequest(f"{name} is missing", parameter=name, allowed=_ALLOWED[name])
    for name, value in found.items():
        if not _fits(name, value):
            raise BadRequest(
                f"{name} = {value!r:.60} cannot be",
                parameter=name,
                value=str(value)[:60],
                allowed=_ALLOWED[name],
            )
    if not found:
        raise BadRequest("nothing is to change", parameter="body", allowed=fields)
    return Wanted(**found)


_ALLOWED: dict[str, Any] = {
    "symbol": f"a symbol of at most {SYMBOL_MAX} characters, such as BTCUSDT",
    "price": 'a number above 0 in a string, such as "68000.5": at most 15 digits, and 12 decimals',
    "direction": DIRECTIONS,
    "repeat": "true or false",
    "hysteresis": f'a share of the price in a string, from "0" to "{HYSTERESIS_MAX}"',
    "text": f"a text of at most {TEXT_MAX} characters, without line breaks",
    "input": "the name of a stream that is watched",
}


def _fits(name: str, value: object) -> bool:
    if name == "repeat":
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    if name == "price":
        return bool(_NUMBER.fullmatch(value)) and Decimal(value) > 0
    if name == "hysteresis":
        return bool(_NUMBER.fullmatch(value)) and Decimal(value) <= HYSTERESIS_MAX
    if name == "direction":
        return value in DIRECTIONS
    if name == "symbol":
        return 0 < len(value) <= SYMBOL_MAX and value.isprintable()
    return len(value) <= (TEXT_MAX if name == "text" else 100) and value.isprintable()


def side(price: Decimal, line: Decimal) -> Side:
    """Where a price is, as seen from a line."""
    return "above" if price > line else "below" if price < line else "on"


def alert_of(line: AlertLine, way: Way, step: Step, *, blind: bool) -> LineAlert:
    """What is said of a line that the price came to."""
    from_ms = max(step.known_ms if blind else step.from_ms, line.set_ms)
    from_ms = min(from_ms, step.to_ms)
    if step.to_ms - from_ms <= SPAN_MS:
        when, from_ms = f"at {_time(step.to_ms)} UTC", step.to_ms
    else:
        when = f"between {_time(from_ms)} and {_time(step.to_ms)} UTC"
    unknown = ", while no price was known" if blind else ""
    whence = "below" if way == "up" else "above"
    label = f"{line.text}: " if line.text else ""
    text = (
        f"{label}{line.symbol} crossed {line.price:,f} from {whence} {when}{unknown}: "
        f"{step.first:,f} before, {step.last:,f} then"
    )
    return LineAlert(
        symbol=line.symbol,
        line=line.id,
        price=line.price,
        direction=way,
        before=step.first,
        value=step.last,
        from_ms=from_ms,
        time_ms=step.to_ms,
        blind=blind,
        fired=line.fired + 1,
        label=line.text,
        text=text,
        input=line.input,
    )


def _time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%H:%M:%S}"
