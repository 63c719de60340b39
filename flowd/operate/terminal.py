"""What commands show in a terminal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from flowd.operate.status import trouble_with
from flowd.values.peers import ALONE, SILENT_S

__all__ = [
    "age",
    "components",
    "err",
    "escape",
    "naming",
    "out",
    "pair",
    "peers",
    "processes",
    "retained",
    "say",
    "state_of",
    "status",
    "table",
    "troubles",
    "verdict",
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_COLOURS = {"running": "green", "backoff": "yellow", "failed": "red", "starting": "yellow"}


def say(message: str) -> None:
    """One line on standard error, however long."""
    err.print(message, soft_wrap=True)


def naming(file: Path) -> str:
    """What a command is told to take this configuration: nothing, where it does so by itself."""
    return "" if file == Path("flowd.toml") else f" -c {escape(str(file))}"


def table(*headings: str, whole: int = 1) -> Table:
    """A table that cuts nothing off: the first `whole` columns keep to one line, others go on in
    the next.
    """
    made = Table(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        made.add_column(heading, no_wrap=index < whole, overflow="fold")
    return made


def retained(count: int, age_s: float | None) -> str:
    """How much a stream retains, in a word."""
    return str(count) if age_s is None else age(age_s * 1000)


def verdict(found: dict[str, Any]) -> str:
    """The first line: which flowd, how it is, for how long, and what it is among others."""
    words = [_health(found), f"up {age(found['uptime_s'] * 1000)}"]
    if (role := found.get("role", ALONE)) != ALONE:
        words.append(escape(role))
        if found["lag_ms"] is not None:
            words.append(f"{age(found['lag_ms'])} behind")
    return f"flowd {found['version']}: {', '.join(words)}"


def _health(found: Mapping[str, Any]) -> str:
    return "[green]healthy[/]" if found["healthy"] else "[red]degraded[/]"


def pair(found: dict[str, Any]) -> list[str]:
    """A line on the two daemons of a pair; none where there is no second one."""
    told = found.get("pair")
    if not told:  # As of a daemon that is older than this command.
        return []
    if told["role"] == "leader":
        other, behind = told["standby"], _frames(told["standby_behind"])
        return [f"leads; {escape(other)} stands by{behind}" if other else "leads; nobody stands by"]
    leader, behind = told["leader"], _frames(told["behind"])
    return [f"stands by{behind}; {f'{escape(leader)} leads' if leader else 'nobody leads'}"]


def _frames(behind: int | None) -> str:
    return ", and does not follow yet" if behind is None else f", {behind} frames behind"


def peers(found: dict[str, Any]) -> list[Table]:
    """A row for each other daemon that is known; nothing where there is none."""
    if not found.get("peers"):  # As of a daemon that is older than this command.
        return []
    rows = table("peer", "at", "health", "lag", "clients", "version", "heard")
    for peer in found["peers"]:
        at = peer["addresses"][0] if peer["addresses"] else f"{peer['host']}:{peer['pid']}"
        silent = peer["age_ms"] > SILENT_S * 1000
        rows.add_row(
            escape(peer["role"]),
            escape(at.removeprefix("http://").rstrip("/")),
            "[red]silent[/]" if silent else _health(peer),
            "-" if silent else age(peer["lag_ms"]),
            str(peer["clients"]),
            escape(peer["version"]),
            f"{age(peer['age_ms'])} ago",
        )
    return [rows]


def processes(found: dict[str, Any]) -> list[Table]:
    """A row for each process, where several are one daemon."""
    if not found.get("processes"):
        return []
    rows = table("process", "pid", "state", "clients", "delivered", "lag", "MB", "loop", "restarts")
    for one in found["processes"]:
        colour = "green" if one["healthy"] else _COLOURS.get(one["state"], "yellow")
        rows.add_row(
            one["name"],
            str(one["pid"] or "-"),
            f"[{colour}]{one['state']}[/]",
            str(one.get("clients", "-")),
            str(one.get("delivered", "-")),
            age(one.get("lag_ms")),
            str(one["rss_bytes"] // 1_000_000) if "rss_bytes" in one else "-",
            age(one.get("recent_hold_ms")),
            str(one["restarts"] or "-"),
        )
    return [rows]


def state_of(part: dict[str, Any]) -> tuple[str, str]:
    """A component's state in a word, and its colour. One that runs without data is not called
    running.
    """
    state: str = part["state"]
    if state == "running" and part["delivering"] is False:
        return "connected" if part["connected"] else "connecting", "yellow"
    return state, _COLOURS.get(state, "white")


def components(found: dict[str, Any], *columns: str) -> Table:
    """A row for each component: its name, and these of the columns that there are."""
    rows = table("component", *columns)
    for part in found["components"]:
        rows.add_row(part["name"], *(_COLUMNS[column](part) for column in columns))
    return rows


def _state(part: dict[str, Any]) -> str:
    state, colour = state_of(part)
    return f"[{colour}]{state}[/]"


def _written(part: dict[str, Any], figure: str) -> str:
    """A figure of what a component writes; a sink writes nothing."""
    return "-" if part["table"] == "sinks" else figure


_COLUMNS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "state": _state,
    "rate/s": lambda part: _written(part, f"{part['rate_per_s']:.3g}"),
    "lag": lambda part: age(part["lag_ms"]),
    "last": lambda part: age(part["last_message_ago_ms"]),
    "published": lambda part: _written(part, str(part["published"])),
    "dropped": lambda part: _written(part, str(sum(part["dropped"].values()))),
    "behind": lambda part: "-" if part["table"] == "sources" else str(part["behind"]),
    "record": lambda part: age(part["last_record_ago_ms"]),
    "restarts": lambda part: str(part["restarts"] or "-"),
}


def status(found: dict[str, Any]) -> Group:
    """What `flowd status` shows. Made for 80 columns: names are never cut, what is wrong has lines
    of its own below the table.
    """
    clients = found["clients"]
    return Group(
        verdict(found),
        components(found, "state", "rate/s", "lag", "last", "published", "dropped"),
        *processes(found),
        *pair(found),
        *peers(found),
        *(f"[{colour}]{name}[/]: {escape(why)}" for name, colour, why in troubles(found)),
        f"{clients['live']} live clients ({clients['behind']} behind), "
        f"{clients['delivered']} records delivered, "
        f"{found['memory']['rss_bytes'] // 1_000_000} MB, "
        f"loop held {found['loop']['longest_hold_ms']:.1f} ms",
    )


def troubles(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is wrong: who, in which colour, and why."""
    told: list[tuple[str, str, str]] = []
    for part in found["components"]:
        state, colour = state_of(part)
        why = part["error"] if colour != "green" else part.get("problem") or part.get("overtaken")
        if why or colour != "green":
            told.append(
                (part["name"], colour if colour != "green" else "yellow", str(why or state))
            )
    if (trouble := trouble_with(found["snapshot"])) is not None:
        told.append(("state", "red", trouble))
    if why := found.get("pair", {}).get("problem"):
        told.append(("pair", "red", why))
    for one in found.get("processes", ()):
        if one["error"]:
            told.append((one["name"], "red", one["error"]))
    return [(name, colour, why[:300]) for name, colour, why in told]


def age(ms: float | None) -> str:
    """A time span in a word; a dash for none."""
    if ms is None:
        return "-"
    seconds = ms / 1000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{ms:.0f}ms"
