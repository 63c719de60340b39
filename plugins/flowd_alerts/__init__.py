"""Flowd transforms that alert. The one here says when much was liquidated, by a threshold or by
what is usual; `positions` has the one that watches traders, `watching` that of alert lines, which
`lines_http` brings to clients.

It reads buckets of liquidation volume and publishes alerts, one for each bucket and rule. Its own
stream is all that it remembers: an alert that stands there is not given again, also after a crash.
Several streams of buckets are watched each for itself; they are never added up.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import trio
from attrs import field, frozen

from flowd.market import Bucket, Candle, Fill, Trade
from flowd.plugin import Feed, Input, Seconds, Sink, StreamName, Streams, Transform, hookimpl
from flowd.traders import PositionEvent
from flowd_alerts import lines, lines_http, positions, watching
from flowd_alerts.robust import Usual, usual

WINDOW_MAX = 5000
Z_MAX = 1e9
"""A score is shown as this when it is larger."""
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_TIMEFRAME = re.compile(r"([1-9][0-9]{0,3})([mhdw])", re.ASCII)
_CENT = Decimal("0.01")

Rule = Literal["threshold", "unusual"]


def _timeframes(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("timeframes = []: name at least one, such as 5m")
    for name in names:
        if not _TIMEFRAME.fullmatch(name):
            raise ValueError(f"timeframes: {name!r} is none; they look like 5m, 1h, 1d")
        if name != "1w" and (name.endswith("w") or _UNITS_MS["d"] % width_ms(name)):
            raise ValueError(f"timeframes: there are no buckets of {name!r}: a width divides a day")


@frozen
class Config:
    """`input` or `inputs` are streams of buckets. `threshold` is an amount in quote units; `z` a
    cutoff, 0 for none.

    A bucket's past are the buckets of the `window` spans before it, as far as something was
    liquidated in them; with less than `min_buckets` nothing is unusual. `floor` keeps small amounts
    from being unusual. `escalate` are multiples of the threshold and of the cutoff at which the
    alert is given again, with a higher level.
    """

    input: StreamName | None = None
    inputs: list[StreamName] = field(factory=list, kw_only=True)
    timeframes: list[str] = field(factory=lambda: ["5m"], validator=_timeframes)
    symbols: list[str] = field(factory=lambda: ["*"])
    threshold: Decimal | None = None
    z: Decimal = Decimal("3.5")
    log: bool = True
    window: int = 288
    min_buckets: int = 30
    floor: Decimal = Decimal(0)
    escalate: list[Decimal] = field(factory=list)
    cooldown: Seconds = Seconds(0.0)
    max_age: Seconds = Seconds(3600.0)

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ValueError("neither input nor inputs: name a stream of buckets, or several")
        if self.threshold is None and not self.z:
            raise ValueError("neither threshold nor z: one of them must be set")
        if self.threshold is not None and self.threshold <= 0:
            raise ValueError(f"threshold = {self.threshold}: expected an amount above 0")
        if self.z < 0 or self.floor < 0:
            raise ValueError("z and floor: expected a number from 0 up")
        if not 2 <= self.min_buckets <= self.window <= WINDOW_MAX:
            raise ValueError(
                f"window = {self.window}, min_buckets = {self.min_buckets}: expected 2 or more "
                f"buckets in a window of at most {WINDOW_MAX}"
            )
        if self.escalate != sorted(set(self.escalate)) or any(by <= 1 for by in self.escalate):
            raise ValueError("escalate: expected rising multiples above 1, such as [2, 5]")
        if not self.symbols:
            raise ValueError('symbols = []: name at least one symbol, or ["*"] for all')

    @property
    def names(self) -> list[str]:
        """All streams that are watched, each once."""
        return list(dict.fromkeys([*([self.input] if self.input else []), *self.inputs]))

    @property
    def levels(self) -> list[Decimal]:
        """The multiples at which alerts are given; the first one is 1."""
        return [Decimal(1), *self.escalate]


@frozen
class Alert:
    """A bucket in which much was liquidated.

    `value` is the bucket's total when it was noticed. The rule `threshold` says which amount was
    reached; the rule `unusual` the `z` of the total and the `median` of the `past` buckets.
    `level` is 0, and one more for each escalation that was passed. `venue` and `venues` are the
    bucket's, by name; `lower_bound` and `approximate` say what its sums are worth, as there.
    `input` is the stream of the bucket, empty for what was saved before there were several.
    """

    symbol: str
    timeframe: str
    time_ms: int
    rule: Rule
    level: int
    value: Decimal
    threshold: Decimal | None
    z: Decimal | None
    median: Decimal | None
    past: int | None
    text: str
    venue: str = ""
    venues: tuple[str, ...] = ()
    lower_bound: bool = False
    approximate: bool = False
    input: str = ""

    @property
    def key(self) -> str:
        """There is one alert of this name in each input; a higher level supersedes it."""
        return f"{self.symbol}/{self.timeframe}/{self.time_ms}/{self.rule}"


class Watch:
    """Looks at the buckets of one input as they grow, and tells of each once by each rule."""

    def __init__(self, config: Config, buckets: Input[Bucket], feed: Feed[Alert]) -> None:
        self._config = config
        self._buckets = buckets
        self._feed = feed
        self._widths = {name: width_ms(name) for name in config.timeframes}
        self._symbols = {symbol.upper() for symbol in config.symbols}
        self._past: dict[tuple[str, str], tuple[int, Usual | None]] = {}
        """What is usual before the newest bucket of each series; made anew when it is not here."""
        self._told_ms: dict[tuple[str, str, str], int] = {}
        """When each series was last alerted of, by each rule: for the cooldown."""
        for record in feed.records():
            if record.value.input in ("", buckets.name):
                self._note(record.value, record.time_ms)

    def look(self, bucket: Bucket) -> None:
        """Publish what there is to say of this bucket."""
        width = self._widths.get(bucket.timeframe)
        if width is None or not ("*" in self._symbols or bucket.symbol in self._symbols):
            return
        series = (bucket.symbol, bucket.timeframe)
        known = self._past.get(series)
        if known is not None and bucket.time_ms < known[0]:
            del self._past[series]
        age_ms = self._feed.clock() - bucket.time_ms - width
        if bucket.backfilled or age_ms > self._config.max_age * 1000:
            return
        total = bucket.total
        if self._config.threshold is not None and total >= self._config.threshold:
            self._threshold(bucket, total, self._config.threshold)
        if self._config.z and total > 0 and total >= self._config.floor:
            self._unusual(bucket, total, width)

    def _threshold(self, bucket: Bucket, total: Decimal, threshold: Decimal) -> None:
        level, limit = max(
            (level, threshold * by)
            for level, by in enumerate(self._config.levels)
            if total >= threshold * by
        )
        text = f"{_sentence(bucket, total)}: reached {limit:,.0f}"
        self._tell(bucket, "threshold", level, total, text, threshold=limit)

    def _unusual(self, bucket: Bucket, total: Decimal, width: int) -> None:
        past = self._usual(bucket, width)
        if past is None or past.count < self._config.min_buckets:
            return
        z = past.z(total)
        passed = [
            level
            for level, by in enumerate(self._config.levels)
            if z is not None and z > self._config.z * by
        ]
        if z is None or not passed:
            return
        text = f"{_sentence(bucket, total)}: unusual, z {z:.1f}, the median is {past.median:,.0f}"
        rounded = Decimal(min(z, Z_MAX)).quantize(_CENT)
        self._tell(bucket, "unusual", passed[-1], total, text, z=rounded, past=past)

    def _usual(self, bucket: Bucket, width: int) -> Usual | None:
        """What is usual in the window before a bucket."""
        series = (bucket.symbol, bucket.timeframe)
        known = self._past.get(series)
        if known is not None and known[0] == bucket.time_ms:
            return known[1]
        prefix = f"{bucket.symbol}/{bucket.timeframe}"
        before = (
            self._buckets.get(f"{prefix}/{bucket.time_ms - width * back}")
            for back in range(1, self._config.window + 1)
        )
        found = usual([one.total for one in before if one is not None], log=self._config.log)
        self._past[series] = (bucket.time_ms, found)
        return found

    def _tell(
        self,
        bucket: Bucket,
        rule: Rule,
        level: int,
        total: Decimal,
        text: str,
        *,
        threshold: Decimal | None = None,
        z: Decimal | None = None,
        past: Usual | None = None,
    ) -> None:
        """Publish an alert, unless this level was told of, or the series is cooling down."""
        alert = Alert(
            symbol=bucket.symbol,
            timeframe=bucket.timeframe,
            time_ms=bucket.time_ms,
            rule=rule,
            level=level,
            value=total,
            threshold=threshold,
            z=z,
            median=None if past is None else past.median,
            past=None if past is None else past.count,
            text=text,
            venue=bucket.venue,
            venues=tuple(part.venue for part in bucket.parts if part.venue),
            lower_bound=bucket.lower_bound,
            approximate=bucket.approximate,
            input=self._buckets.name,
        )
        before = self._told(alert)
        if before is not None and before.level >= level:
            return
        told_ms = self._told_ms.get((alert.symbol, alert.timeframe, rule), 0)
        if before is None and self._feed.clock() - told_ms < self._config.cooldown * 1000:
            return
        key = f"{alert.key}/{alert.input}" if len(self._config.names) > 1 else alert.key
        record = self._feed.publish(alert, key=key, id=f"{key}/{level}")
        if record is not None:
            self._note(alert, record.time_ms)

    def _told(self, alert: Alert) -> Alert | None:
        """What was told of this bucket: as one of several inputs, or while there was but one."""
        several = self._feed.get(f"{alert.key}/{alert.input}")
        alone = self._feed.get(alert.key)
        found = [
            one for one in (several, alone) if one is not None and one.input in ("", alert.input)
        ]
        return max(found, key=lambda one: one.level, default=None)

    def _note(self, alert: Alert, time_ms: int) -> None:
        self._told_ms[alert.symbol, alert.timeframe, alert.rule] = time_ms


def width_ms(timeframe: str) -> int:
    """How long a timeframe's buckets are."""
    match = _TIMEFRAME.fullmatch(timeframe)
    assert match is not None
    return int(match[1]) * _UNITS_MS[match[2]]


def _sentence(bucket: Bucket, total: Decimal) -> str:
    at = datetime.fromtimestamp(bucket.time_ms / 1000, UTC)
    venues = [part.venue for part in bucket.parts if part.venue]
    where = f" on {', '.join(venues)}" if venues else ""
    return (
        f"{bucket.symbol}, {bucket.timeframe} from {at:%H:%M} UTC: {_worth(bucket)}{total:,.0f} "
        f"liquidated{where} (longs {bucket.sell:,.0f}, shorts {bucket.buy:,.0f})"
    )


def _worth(bucket: Bucket) -> str:
    """What stands before a sum: `at least ` where a venue tells a sample, `about ` where one tells
    other prices than were traded at.
    """
    least = "at least " if bucket.lower_bound else ""
    return f"{least}about " if bucket.approximate else least


async def alerts(config: Config, streams: Streams, feed: Feed[Alert]) -> None:
    """Look at each bucket as it changes; ends when the inputs do."""
    async with trio.open_nursery() as nursery:
        for name in config.names:
            nursery.start_soon(_watch, config, name, streams, feed)


async def _watch(config: Config, name: str, streams: Streams, feed: Feed[Alert]) -> None:
    buckets: Input[Bucket] = streams[name]
    watch = Watch(config, buckets, feed)
    before, checked = buckets.head.seq, False
    async for record in buckets.cursor().records():
        if record.seq > before and not checked:
            # Which there are is said before the first new bucket; until then it is last time's.
            checked = True
            _check_timeframes(config, name, streams, feed)
        watch.look(record.value)


def _check_timeframes(config: Config, input: str, streams: Streams, feed: Feed[Alert]) -> None:
    """Say which timeframes the input does not have, where it says which it has."""
    name = f"{input}.timeframes"
    for record in streams[name].read(0).records if name in streams else ():
        there = record.value.timeframes
        for missing in set(config.timeframes).difference(there):
            feed.drop(f"no buckets of {missing}", f"{input} has {', '.join(there)}")


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kinds `alerts`, `position-alerts` and `alert-lines`."""
    return [
        Transform("alerts", alerts, Config, record=Alert, reads=Bucket),
        Transform(
            "position-alerts",
            positions.alerts,
            positions.Config,
            record=positions.PositionAlert,
            reads=PositionEvent,
        ),
        Transform(
            "alert-lines",
            watching.watching,
            lines.Config,
            record=lines.LineAlert,
            reads=(Candle, Trade, Fill),
            tables={"lines": lines.AlertLine, "answers": lines.Answered},
            tables_retain={"lines": 2 * lines.LINES_MAX, "answers": 1000},
        ),
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `alert-lines-http`."""
    return [
        Sink("alert-lines-http", lines_http.Config, hot=lines_http.hot, routes=lines_http.routes)
    ]
