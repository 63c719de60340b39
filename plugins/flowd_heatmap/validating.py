"""`flowd validate-heatmap`: the model over stored data, held against liquidations that happened."""

import csv
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import define, field, frozen

from flowd.market import Candle, OpenInterest, bin_width
from flowd.plugin import UserError, seconds
from flowd_heatmap import leverage
from flowd_heatmap.command import Mistake, bar, day, fail, opened, say
from flowd_heatmap.files import File, Unusable
from flowd_heatmap.rows import CANDLES, INTEREST, Table

CANDLE_MS = 300_000
AGE_MS = 2 * CANDLE_MS
"""A map may be so much older than what it is asked for."""
DAY_MS = 86_400_000
NEEDED = ("symbol", "side", "price", "notional", "time_ms")


class SideModel(StrEnum):
    """How what opens is shared between long and short."""

    both = "both"
    taker = "taker"
    candle = "candle"


@define
class Known:
    """What there is of one symbol."""

    candles: list[Candle] = field(factory=list)
    interest: list[OpenInterest] = field(factory=list)
    events: list[Any] = field(factory=list)


@frozen
class Assumed:
    """What the model is to assume."""

    side_model: SideModel
    tiers: str
    typical_notional: int
    brackets: Path | None
    bin: Decimal | None
    span_pct: int
    positions_for_ms: int


def validate_heatmap(
    database: Annotated[
        Path, typer.Option("--database", "-d", help="The heatmap's file of candles and interest.")
    ],
    liquidations: Annotated[
        Path,
        typer.Option(
            "--liquidations",
            "-l",
            help="What really happened: `flowd export force-orders`, as .jsonl or .csv.",
        ),
    ],
    symbol: Annotated[
        str | None, typer.Option(help="Only this one, or several separated by commas.")
    ] = None,
    horizons: Annotated[
        str, typer.Option(help="How long before an event its map is from, with commas.")
    ] = "0s,1h,4h",
    side_model: Annotated[SideModel, typer.Option(help="As of the transform.")] = SideModel.both,
    tiers: Annotated[
        str, typer.Option("--leverage", help="As of the transform: leverage:weight, with commas.")
    ] = leverage.DEFAULT,
    typical_notional: Annotated[int, typer.Option(help="As of the transform.", min=1)] = 10_000,
    brackets: Annotated[
        Path | None, typer.Option(help="As of the transform: another file of brackets.")
    ] = None,
    bin: Annotated[
        float | None, typer.Option(help="The width of a bin; else about a thousandth of the price.")
    ] = None,
    span_pct: Annotated[int, typer.Option(help="As of the transform.", min=1, max=100)] = 30,
    positions_for: Annotated[str, typer.Option(help="As of the transform.")] = "30d",
) -> None:
    """Say how well the heatmap's model knew where liquidations would happen.

    Replays the model over stored candles and open interest. What it has at the price of each
    liquidation is ranked among bins at about the same distance from the price, in the map of so
    long before (the horizon), and compared with the same distance on up to three days before and
    after. The lift is how much higher the real ones rank: 0 where the map knows nothing, 0.5 at
    most. Only an interval that lies above 0 says that it knew something. Exits 2 when it cannot.

        flowd export force-orders -o liquidations.jsonl
        flowd validate-heatmap --database market.duckdb --liquidations liquidations.jsonl
    """
    try:
        wanted = sorted({part.strip() for part in (symbol or "").split(",")} - {""})
        spans = _horizons(horizons)
        assumed = Assumed(
            side_model,
            tiers,
            typical_notional,
            brackets,
            None if bin is None else Decimal(str(bin)),
            span_pct,
            round(seconds(positions_for) * 1000),
        )
        known = _events(liquidations, wanted)
        with opened(database, read_only=True) as file:
            _read(file, known)
        _validate(known, spans, assumed)
    except (Mistake, Unusable, UserError) as error:
        fail("validate-heatmap", str(error))
    except (ValueError, OSError) as error:
        fail("validate-heatmap", getattr(error, "strerror", None) or str(error))


def _horizons(text: str) -> dict[str, int]:
    found = {part.strip(): round(seconds(part.strip()) * 1000) for part in text.split(",")}
    if any(not 0 <= each <= DAY_MS for each in found.values()):
        raise Mistake(f"--horizons {text}: expected spans up to a day, such as 0s,1h,4h")
    return found


def _events(path: Path, symbols: list[str]) -> dict[str, Known]:
    """The liquidations in a file, by symbol."""
    from flowd_heatmap.validate import Event

    if not path.is_file():
        raise Mistake(f"{path}: there is no such file; `flowd export force-orders` writes one")
    found: dict[str, Known] = {}
    for number, row in _rows(path):
        try:
            name, side = row["symbol"], row["side"]
            amount = Decimal(str(row["notional"]))
            price, time_ms = Decimal(str(row["price"])), int(row["time_ms"])
            if side not in ("BUY", "SELL") or price <= 0 or amount < 0:
                raise ValueError
        except (KeyError, TypeError, ValueError, InvalidOperation):
            raise Mistake(
                f"{path}, row {number}: no liquidation: expected {', '.join(NEEDED)}"
            ) from None
        if not symbols or name in symbols:
            event = Event(
                "LONG" if side == "SELL" else "SHORT", time_ms, float(price), float(amount)
            )
            found.setdefault(name, Known()).events.append(event)
    if not found:
        raise Mistake(f"{path} has no liquidation of {', '.join(symbols) or 'anything'}")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as lines:
        if path.suffix == ".csv":
            yield from enumerate(csv.DictReader(lines), 2)
            return
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                yield number, record.get("value", record)
            except (ValueError, AttributeError):
                raise Mistake(f"{path}, row {number}: no JSON object") from None


def _read(file: File, known: dict[str, Known]) -> None:
    """What the database has of these symbols."""
    for name, one in known.items():
        for table, into in ((INTEREST, one.interest), (CANDLES, one.candles)):
            _take(file, table, name, into)


def _take(file: File, table: Table[Any], symbol: str, into: list[Any]) -> None:
    reader = file.reader(table, 0, [symbol])
    try:
        while (page := reader.page()) is not None:
            into += page
    finally:
        reader.close()
    for reason, count in reader.refused.items():
        say(f"{symbol}: {count} rows left out: {reason}")


def _validate(known: dict[str, Known], spans: dict[str, int], assumed: Assumed) -> None:
    """Replay and score symbol by symbol, and show a table."""
    from rich.console import Console
    from rich.table import Table as Shown

    shown = Shown("symbol", "horizon", "events", "dropped", "lift", "95 %", "knew something")
    notes: list[str] = []
    total = sum(len(one.candles) for one in known.values())
    if not total:
        raise Mistake("the database has no candles of these symbols")
    with bar("replaying", total) as progress:
        task = progress.task_ids[0]
        for name, one in sorted(known.items()):
            if not one.candles:
                notes.append(f"{name}: no candles, {len(one.events)} liquidations left out")
                continue
            for row in _scored(name, one, spans, assumed, notes, lambda: progress.advance(task)):
                shown.add_row(*row)
    Console(soft_wrap=True).print(shown)
    for note in notes:
        say(note)


def _scored(
    name: str,
    known: Known,
    spans: dict[str, int],
    assumed: Assumed,
    notes: list[str],
    on_candle: Any,
) -> Iterator[tuple[str, ...]]:
    """The rows of one symbol; further sentences go to `notes`."""
    from flowd_heatmap.assumptions import Assumptions
    from flowd_heatmap.brackets import SHIPPED, brackets_of
    from flowd_heatmap.replay import replay
    from flowd_heatmap.validate import Moments, interval, score, spearman

    span = Decimal(assumed.span_pct) / 100
    replayed = replay(
        known.candles,
        known.interest,
        Assumptions(
            leverage.parse(assumed.tiers),
            assumed.side_model.value,
            Decimal(assumed.typical_notional),
        ),
        brackets_of(name, assumed.brackets or SHIPPED),
        assumed.bin or bin_width(known.candles[-1].close),
        span=span,
        positions_for_ms=assumed.positions_for_ms,
        on_candle=on_candle,
    )
    moments = Moments(replayed.moments)
    if replayed.opened_ms:
        notes.append(
            f"{name}: {len(moments)} candles, {day(replayed.opened_ms[0])} to "
            f"{day(replayed.opened_ms[-1])}"
        )
    for text, horizon_ms in spans.items():
        scored = score(
            known.events, moments, horizon_ms=horizon_ms, age_ms=AGE_MS, span=float(span)
        )
        found = interval(scored.blocks)
        dropped = sum(scored.dropped.values())
        nothing = ("-", "-", "no events")
        figures = nothing
        if found.lift is not None and found.low is not None and found.high is not None:
            figures = (
                f"{found.lift:+.3f}",
                f"{found.low:+.3f} to {found.high:+.3f}",
                "yes" if found.holds else "cannot be said",
            )
        yield (name, text, str(found.events), str(dropped), *figures)
        for reason, count in sorted(scored.dropped.items()):
            notes.append(f"{name}, {text}: {count} dropped: {reason}")
    for side in ("LONG", "SHORT"):
        rho = spearman(replayed.consumed(side), replayed.liquidated(side, known.events))
        told = "nothing varies" if rho is None else f"{rho:+.3f}"
        notes.append(
            f"{name}: consumed by the model and liquidated, {side.lower()}, candle by candle, "
            f"Spearman: {told}"
        )
