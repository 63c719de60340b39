"""The processes of one daemon, as each of them knows the others: asked over their Unix sockets, and
told as one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from flowd.door.beyond import Beyond
from flowd.setup.shares import INGEST, SERVER
from flowd.values import codec
from flowd.values.peers import Peer

ASK_S = 3.0
"""A process that has not told by then is told of as one that does not answer."""
ANSWER_MAX = 16 * 1024 * 1024
CONTROL = "control.sock"
"""Where the parent says which processes there are."""
SILENT = "does not answer"

Told = Mapping[str, Any]


@frozen
class Siblings:
    """All processes, from the sight of the one called `name`; `folder` holds their sockets."""

    name: str
    folder: Path
    names: Sequence[str] = field(factory=tuple)

    @property
    def beyond(self) -> Beyond | None:
        """Who answers what an edge does not: the ingest."""
        return None if self.whole else Beyond(self.folder / f"{INGEST}.sock")

    @property
    def whole(self) -> bool:
        """Whether this one has all that is configured, and knows of all paths."""
        return self.name == INGEST

    def have(self, peer: Peer) -> bool:
        """Whether a daemon that was heard of is one of these processes, or was: nobody else listens
        in their folder.
        """
        return any(one.startswith(f"unix:{self.folder}/") for one in peer.addresses)

    async def rows(self) -> Told:
        """What the parent says of them: `uptime_s`, `started_ms`, and `processes`, each with its
        `name`, `pid`, `state`, `error`, `restarts` and `uptime_s`. Where it is gone, no more than
        their names.
        """
        try:
            with trio.fail_after(ASK_S):
                found: Told = codec.decode(await _all_of(self.folder / CONTROL, b""))
                return found
        except (OSError, ValueError, trio.TooSlowError, trio.BrokenResourceError):
            # It does not answer, which is what is told of it.
            gone = {"pid": None, "state": "unknown", "error": "the parent is gone", "restarts": 0}
            return {"processes": [{"name": name, **gone} for name in self.names]}

    async def ask(self, path: str, own: bytes) -> dict[str, bytes]:
        """What each says at this path of itself, this one says `own`. Who does not, is left out."""
        found = {self.name: own}

        async def ask(name: str) -> None:
            answer = await self.ask_one(name, path)
            # A daemon that is unwell says so with 503, and says all.
            if answer is not None and answer[0] in (200, 503):
                found[name] = answer[1]

        async with trio.open_nursery() as nursery:
            for name in self.names:
                if name != self.name:
                    nursery.start_soon(ask, name)
        return {name: found[name] for name in self.names if name in found}

    async def ask_one(self, name: str, path: str) -> tuple[int, bytes] | None:
        """Status and body of what another process says at this path of itself; None for nothing."""
        request = f"GET {path}?process={name} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        try:
            with trio.fail_after(ASK_S):
                answer = await _all_of(self.folder / f"{name}.sock", request)
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1]), body
        except (OSError, ValueError, IndexError, trio.TooSlowError, trio.BrokenResourceError):
            return None


async def _all_of(path: Path, said: bytes) -> bytes:
    """What comes from a socket until its end; ValueError when that is too much."""
    data = bytearray()
    async with await trio.open_unix_socket(str(path)) as stream:
        if said:
            await stream.send_all(said)
        async for piece in stream:
            data += piece
            if len(data) > ANSWER_MAX:
                raise ValueError(f"more than {ANSWER_MAX} bytes")
    return bytes(data)


# -- health


def health(rows: Told, told: Mapping[str, Told]) -> dict[str, Any]:
    """`/health` of all: a component of the ingest by its name, one of an edge as `edge-1.NAME`, and
    processes that do not run.
    """
    problems: dict[str, Any] = {}
    for row in rows["processes"]:
        name = row["name"]
        if (why := _trouble(row, told)) is not None:
            problems[name] = why
        for component, wrong in told.get(name, {}).get("problems", {}).items():
            problems[component if name == INGEST else f"{name}.{component}"] = wrong
    return {"status": "degraded" if problems else "ok", "problems": problems}


def _trouble(row: Told, told: Mapping[str, Any]) -> str | None:
    """What is wrong with a process itself. A server between them is no flowd, and never asked."""
    if row["state"] != "running":
        return f"{row['state']}: {row['error']}" if row["error"] else str(row["state"])
    return None if row["name"] in (*told, SERVER) else SILENT


# -- status


def status(rows: Told, told: Mapping[str, Told]) -> dict[str, Any]:
    """`/status` of all: what the ingest says of sources, transforms, sinks and streams, what edges
    say of clients, counted together, and a row for each process.
    """
    edges = [one for name, one in told.items() if name != INGEST]
    base = told.get(INGEST, edges[0] if edges else {})
    found = dict(base)
    found["components"] = [_with(part, edges) for part in base.get("components", ())]
    found["processes"] = [_row(row, told) for row in rows["processes"]]
    found["healthy"] = all(row["healthy"] for row in found["processes"])
    found |= {key: rows[key] for key in ("started_ms", "uptime_s") if key in rows}
    if edges:
        found["clients"] = summed([one["clients"] for one in edges])
        shared = {key: sum(one["limits"][key] for one in edges) for key in SHARED}
        found["limits"] = {**base["limits"], **edges[0]["limits"], **shared}
    found["memory"] = summed([one["memory"] for one in told.values()])
    found["loop"] = max(
        (one["loop"] for one in told.values()), key=lambda loop: float(loop["recent_hold_ms"])
    )
    return found


SHARED = ("max_clients", "memory_budget", "outgoing_bytes", "prepared_bytes")
"""Limits that the edges share out among themselves."""
COUNTED = ("messages", "published", "duplicates", "missed", "dropped", "figures")


def _with(part: Told, edges: Sequence[Told]) -> dict[str, Any]:
    """A component of the ingest, with what those of its name at the edges counted."""
    same = [one for edge in edges for one in edge["components"] if one["name"] == part["name"]]
    return {**part, **{key: summed([part[key], *(one[key] for one in same)]) for key in COUNTED}}


def _row(row: Told, all_told: Mapping[str, Told]) -> dict[str, Any]:
    """One process: what the parent says of it, and what itself."""
    made = {**row, "healthy": _trouble(row, all_told) is None}
    told = all_told.get(row["name"])
    if told is None:
        return made
    return {
        **made,
        "healthy": made["healthy"] and told["healthy"],
        "role": told["role"],
        "clients": told["clients"]["live"],
        "delivered": told["clients"]["delivered"],
        "rss_bytes": told["memory"]["rss_bytes"],
        "recent_hold_ms": told["loop"]["recent_hold_ms"],
        "behind": told["behind"],
        "lag_ms": told["lag_ms"],
    }


def summed(values: Sequence[Any]) -> Any:
    """Values of one shape added up: numbers, tables of them, and lists of pairs of a name and a
    number. Of what is neither, the first counts.
    """
    first = values[0]
    if isinstance(first, bool) or first is None or isinstance(first, str):
        return first
    if isinstance(first, int | float):
        return sum(values)
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: summed([value[key] for value in values if key in value]) for key in keys}
    return [
        [pair[0], summed([other[1] for other in same])]
        for pair, *more in zip(*values, strict=True)
        for same in [(pair, *more)]
    ]


# -- metrics


class _All(Collector):
    """The families of all processes, each sample with the process that it is of."""

    def __init__(self, rows: Told, told: Mapping[str, str]) -> None:
        self._rows = rows
        self._told = told

    def collect(self) -> Any:
        """All families."""
        families: dict[str, Any] = {}
        for process, text in self._told.items():
            for family in text_string_to_metric_families(text):
                same = families.setdefault(family.name, family)
                samples = [
                    one._replace(labels={**one.labels, "process": process})
                    for one in family.samples
                ]
                same.samples = samples if same is family else [*same.samples, *samples]
        up = families.get("flowd_up")
        there = {*self._told, SERVER}
        lacking = [row["name"] for row in self._rows["processes"] if row["name"] not in there]
        if up is not None:
            for name in lacking:
                up.add_sample("flowd_up", {"process": name}, 0.0)
        yield from families.values()
        running = GaugeMetricFamily(
            "flowd_process_running", "1 while the process serves", labels=("process",)
        )
        restarts = CounterMetricFamily(
            "flowd_process_restarts", "Starts after the first", labels=("process",)
        )
        for row in self._rows["processes"]:
            running.add_metric((row["name"],), float(row["state"] == "running"))
            restarts.add_metric((row["name"],), float(row["restarts"]))
        yield from (running, restarts)


def metrics(rows: Told, told: Mapping[str, str]) -> bytes:
    """`/metrics` of all. What each says stays its own, by the label `process`: a sum would fall
    when one of them begins anew, which a rate takes for a start from nothing.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(rows, told))
    return generate_latest(registry)
