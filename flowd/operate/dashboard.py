"""What `flowd status --watch` shows: the operator's dashboard in a terminal, lines in a pipe."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape

from flowd.operate.terminal import (
    age,
    components,
    pair,
    peers,
    processes,
    state_of,
    troubles,
    verdict,
)

GAPS = 5
"""The newest gaps are shown."""
KIB = 1024


def dashboard(found: dict[str, Any], gaps: Sequence[dict[str, Any]] = ()) -> Group:
    """The status as a screen: components, what is wrong with them, clients, memory, state, budgets
    and the newest gaps, which are values of the stream `outages`.
    """
    parts: list[RenderableType] = [
        verdict(found),
        components(found, "state", "rate/s", "lag", "behind", "record", "restarts"),
        *processes(found),
        *pair(found),
        *peers(found),
    ]
    parts += [f"[{colour}]{name}[/]: {escape(why)}" for name, colour, why in troubles(found)]
    clients, loop = found["clients"], found["loop"]
    parts.append(
        f"clients   {clients['live']} live, {clients['behind']} behind, "
        f"{clients['slow']} were slow, {clients['gone_slow']} let go for that; "
        f"{clients['delivered']} records delivered"
    )
    parts.append(
        f"memory    {found['memory']['rss_bytes'] // 1_000_000} MB; loop held "
        f"{loop['recent_hold_ms']:.1f} ms of late, {loop['longest_hold_ms']:.1f} ever"
    )
    parts.append(f"state     {_saved(found['snapshot'])}")
    for name, budget in found["budgets"].items():
        closed = f", closed for {budget['closed_s']:g}s" if budget["closed_s"] else ""
        parts.append(
            f"budget    {escape(name)}: {budget['used']} of {budget['limit']} a minute, "
            f"{budget['waiting']} waiting, {budget['refused']} refused{closed}"
        )
    parts += [_gap(gap, found["time_ms"]) for gap in list(gaps)[-GAPS:][::-1]]
    return Group(*parts)


def line(found: dict[str, Any]) -> str:
    """The status as one line: for a pipe, a file, or a grep."""
    time = datetime.fromtimestamp(found["time_ms"] / 1000, UTC)
    parts, clients = found["components"], found["clients"]
    running = sum(state_of(part)[0] == "running" for part in parts)
    rate = sum(part["rate_per_s"] for part in parts if part["table"] != "sinks")
    words = [
        "healthy" if found["healthy"] else "degraded",
        f"{running} of {len(parts)} components running",
        f"{rate:.3g} records/s",
        f"{clients['live']} clients",
        f"{clients['behind']} behind",
        f"{found['memory']['rss_bytes'] // 1_000_000} MB",
        f"loop {found['loop']['recent_hold_ms']:.1f} ms",
    ]
    wrong = [f"{name}: {why}" for name, _, why in troubles(found)]
    said = " ".join("; ".join([", ".join(words), *wrong]).split())
    return f"{time:%Y-%m-%dT%H:%M:%SZ} {said}"


def _saved(snapshot: dict[str, Any]) -> str:
    saved = age(snapshot["saved_ago_ms"])
    words = (
        "not saved yet" if saved == "-" else f"saved {saved} ago in {snapshot['took_ms']:.0f} ms"
    )
    return (
        f"{words}; journal of {snapshot['journal_bytes'] // KIB} KiB, "
        f"written {age(snapshot['journal_ago_ms'])} ago; {snapshot['failures']} saves failed"
    )


def _gap(gap: dict[str, Any], now_ms: int) -> str:
    began = datetime.fromtimestamp(gap["from_ms"] / 1000, UTC)
    open_now = gap["to_ms"] is None
    lasted = age((now_ms if open_now else gap["to_ms"]) - gap["from_ms"])
    became = "still open" if open_now else "lost"
    if gap["recovered"] is not None:
        became = f"{gap['recovered']} records came later"
    reason = escape(str(gap["reason"])[:120])
    colour = "yellow" if open_now else "white"
    name = escape(gap["component"])
    return f"gap       [{colour}]{name}[/] {began:%d %b %H:%M:%S} for {lasted}: {reason}; {became}"
