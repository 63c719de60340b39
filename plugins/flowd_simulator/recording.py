"""Recorded frames and the pace at which to play them again.

A recording is a file with one JSON frame per line, as it came: bare events, or the combined form
with the stream's name around. The event time `E` says when each was sent.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import frozen

from flowd_simulator.intervals import opening

PAUSE_MIN_S: Final = 1.0
"""Between two rounds of a looping recording, however short it is."""


@frozen
class Frame:
    """One recorded event: its bytes as recorded, and the streams that carry it."""

    time_ms: int
    event: str
    streams: tuple[str, ...]


@frozen
class _Combined:
    stream: str
    data: msgspec.Raw


@frozen
class _Order:
    s: str = ""


@frozen
class _Kline:
    i: str = ""


@frozen
class _Event:
    e: str
    E: int
    s: str = ""
    o: _Order | str | None = None
    k: _Kline | str | None = None


def load(path: Path) -> list[Frame]:
    """Read a recording. A line which is no event ends this with a ValueError that names it."""
    return parse(path.read_text(encoding="utf-8").splitlines(), name=str(path))


def parse(lines: Iterable[str], *, name: str = "recording") -> list[Frame]:
    """The frames of a recording, oldest first as they stand. Answers to requests are left out."""
    frames = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            frame = _frame(line.strip())
        except msgspec.MsgspecError as error:
            raise ValueError(
                f"{name}, line {number}: not a recorded event ({error}). Expected one JSON object "
                'with "e" and "E", or {"stream": …, "data": …} around it.'
            ) from error
        if frame is not None:
            frames.append(frame)
    if not frames:
        raise ValueError(f"{name}: holds no events, so there is nothing to play.")
    return frames


def pace(frames: Iterable[Frame], speed: float) -> Iterator[tuple[float, Frame]]:
    """Each frame with the seconds to wait before it. Times that go back make no wait."""
    assert speed > 0, "speed is how much faster than recorded"
    newest: int | None = None
    for frame in frames:
        wait_ms = 0 if newest is None else max(0, frame.time_ms - newest)
        newest = frame.time_ms if newest is None else max(newest, frame.time_ms)
        yield wait_ms / 1000 / speed, frame


def shifted(frame: Frame, now_ms: int) -> str:
    """The event as if sent now. All its times keep their distance to `E`; candles stay on their
    grid, so they move by whole intervals."""
    event = json.loads(frame.event)
    shift_ms = now_ms - event["E"]
    event["E"] = now_ms
    if "T" in event:
        event["T"] += shift_ms
    order, candle = event.get("o"), event.get("k")
    if isinstance(order, dict) and "T" in order:
        order["T"] += shift_ms
    if isinstance(candle, dict):
        _move_candle(candle, shift_ms)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _move_candle(candle: dict[str, Any], shift_ms: int) -> None:  # Any: recorded JSON
    opened = opening(candle["i"], candle["t"] + shift_ms)
    candle["T"] += opened - candle["t"]
    candle["t"] = opened


def _frame(line: str) -> Frame | None:
    whole = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    names: tuple[str, ...] = ()
    if "stream" in whole:
        combined = msgspec.json.decode(line, type=_Combined)
        line, names = bytes(combined.data).decode(), (combined.stream,)
    elif "e" not in whole:
        return None
    event = msgspec.json.decode(line, type=_Event)
    return Frame(event.E, line, tuple(dict.fromkeys((*names, *_carriers(event)))))


def _carriers(event: _Event) -> tuple[str, ...]:
    """The streams on which the exchange sends such an event."""
    symbol = event.s.lower()
    if event.e == "forceOrder" and isinstance(event.o, _Order):
        return f"{event.o.s.lower()}@forceOrder", "!forceOrder@arr"
    if event.e == "kline" and isinstance(event.k, _Kline):
        return (f"{symbol}@kline_{event.k.i}",)
    if event.e == "markPriceUpdate":
        return f"{symbol}@markPrice", f"{symbol}@markPrice@1s"
    return (f"{symbol}@{event.e}",)
