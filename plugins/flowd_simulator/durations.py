"""Reading the command line's durations and shares, with errors that say what would be right."""

import re

import typer

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str | float) -> float:
    """Seconds from `200ms`, `30s`, `3m`, `24h` or `1d`. Numbers, which are defaults, pass."""
    if isinstance(text, float):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip())
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no duration: write 200ms, 30s, 3m or 24h.")
    return seconds


def share(text: str | float) -> float:
    """A probability."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is no share: write a number from 0 to 1, like 0.01.")
    return value
