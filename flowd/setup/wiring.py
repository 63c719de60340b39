"""Components to streams: which stream each reads, in which order they start; refuses what cannot
work.
"""

import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import attrs
from attrs import Factory, evolve, frozen

from flowd.door.paths import Hot, Live
from flowd.setup.carried import AllCarried, Carried, carries
from flowd.setup.config import Component, Config
from flowd.setup.paths import paths
from flowd.upstream.outages import HERE as OUTAGES_HERE
from flowd.upstream.outages import NAME as OUTAGES
from flowd.upstream.outages import Outage
from flowd.values.errors import Mistakes, UserError, did_you_mean
from flowd.values.settings import Secret, StreamName

ALL = ["*"]
"""What a sink may be told to read: every stream that fits."""

Reads = type | str | tuple[type | str, ...] | None
"""What a stream must carry: classes of record, or their names; None for anything."""


@frozen
class Plan:
    """What runs: components in the order in which they start, each stream's record class and
    writer, the streams that each component reads, the tokens that streams are read with, and the
    paths that each sink answers.
    """

    order: list[Component]
    records: dict[str, type]
    writers: dict[str, str]
    inputs: dict[str, list[str]]
    tokens: dict[str, Secret]
    paths: Mapping[str, list[Live | Hot]]
    carried: Mapping[str, Carried] = Factory(dict)
    """The streams of other daemons."""
    outages: str = OUTAGES
    """The stream that tells what this daemon's own sources did not deliver."""
    kinds: Mapping[str, str] = Factory(dict)
    """The kind of the component that writes a stream, here or where it comes from."""
    left_out: Mapping[str, Mapping[str, str]] = Factory(dict)
    """By source, the streams of other daemons that cannot be here, and why."""


def plan(config: Config, broken: Collection[str] = (), carried: AllCarried | None = None) -> Plan:
    """The plan for a configuration; UserError with each stream that is missing, of the wrong type,
    or part of a circle, and each path that is taken.

    `broken` are the names of components that could not be read: what they would have written is not
    said to be missing. `carried` are the streams of other daemons; where there are such and None
    says that they are not known yet, no name is said to be missing. Which of them cannot be here is
    left out: another daemon's configuration must not end this one.
    """
    mistakes = Mistakes()
    carriers = [c for c in config.of("sources") if carries(c)]
    named = {c.name: c for c in config.components if c.table != "sinks"}
    writers = {name: c for name, c in named.items() if c not in carriers}
    records: dict[str, type] = {name: c.definition.record for name, c in writers.items()}
    for name, component in named.items():
        for table, record in component.definition.tables.items():
            full = table_name(name, table)
            if full in writers:
                mistakes.found.append(
                    f"[{writers[full].where}]: {component.where} keeps a stream of this name; "
                    "choose another"
                )
            writers[full] = component
            records[full] = record
    there: dict[str, Carried] = {}
    left_out: dict[str, dict[str, str]] = {}
    shared = config.settings.read_token
    for component in carriers:
        for name, one in (carried or {}).get(component.name, {}).items():
            other = writers.get(name) or named.get(name)
            if why := _why_not(component, name, one, other, config.tokens.get(name) or shared):
                left_out.setdefault(component.name, {})[name] = why
            else:
                writers[name], records[name], there[name] = component, one.record, one
    outages = OUTAGES_HERE if OUTAGES in there else OUTAGES
    records[outages] = Outage
    unknown = bool(carriers) and carried is None
    parts: list[Component] = []
    for component in config.components:
        with mistakes.noted():
            parts.append(_with_all(component, records, unknown))
    config = evolve(config, components=parts)
    inputs: dict[str, list[str]] = {}
    for component in config.components:
        inputs[component.name], wrong = _inputs(component, records, broken, unknown)
        mistakes.found += wrong
    sinks = config.of("sinks")
    leading: Mapping[str, list[Live | Hot]] = {}
    with mistakes.noted():
        leading = paths(sinks, config.settings.base_path)
    mistakes.tell()
    # Sources start together and end before any stream is closed, so they may read each other, and
    # what is made of their own.
    order: list[Component] = config.of("sources")
    waiting = config.of("transforms")
    while waiting:
        # What is not written by a component that waits too is there already.
        ready = [c for c in waiting if not any(writers.get(n) in waiting for n in inputs[c.name])]
        if not ready:
            names = ", ".join(c.where for c in waiting)
            raise UserError(f"{names}: these read each other in a circle; nothing could start it")
        order += ready
        waiting = [c for c in waiting if c not in ready]
    written_by = {stream: component.name for stream, component in writers.items()}
    tokens = {name: c.read_token or shared for name, c in writers.items() if name not in there}
    for name, one in there.items():
        own = writers[name].read_token if one.there.protected else None
        tokens[name] = config.tokens.get(name) or own or shared
    tokens[outages] = shared
    needed = {name: token for name, token in tokens.items() if token is not None}
    in_order = [*order, *sinks]
    kinds = {name: component.kind for name, component in writers.items()}
    kinds |= {name: one.there.kind for name, one in there.items()}
    more = there, outages, kinds, left_out
    return Plan(in_order, records, written_by, inputs, needed, leading, *more)


def _why_not(
    source: Component, name: str, one: Carried, other: Component | None, shared: Secret | None
) -> str | None:
    """Why a stream of another daemon cannot be here, and what can be done; None where it can."""
    if one.why_not is not None:
        return one.why_not
    if other is not None:
        return (
            f"carries a stream {name}, and {other.where} has that name; leave the one out, or "
            "rename the other"
        )
    if one.there.protected and source.read_token is None and shared is None:
        return (
            f"the stream {name} is read with a token where it comes from; set read_token in "
            f"[{source.where}], for such streams, or flowd.read_token, for all"
        )
    return None


def table_name(component: str, table: str) -> str:
    """The stream's name of a table that a component keeps for all to read."""
    return f"{component}.{table}"


def _with_all(component: Component, records: dict[str, type], unknown: bool) -> Component:
    """A sink whose list of streams is `["*"]` reads all that fit. UserError when none does."""
    settings, reads = component.settings, getattr(component.definition, "reads", None)
    if component.table != "sinks":
        return component
    hints = typing.get_type_hints(type(settings))
    for attribute in attrs.fields(type(settings)):
        if hints[attribute.name] == list[StreamName] and getattr(settings, attribute.name) == ALL:
            wanted = attribute.metadata.get("reads", reads)
            fitting = [name for name, record in records.items() if _fits(record, wanted)]
            if not fitting and not unknown:
                key = f"{component.where}.{attribute.name}"
                raise UserError(f'{key} = ["*"]: no configured stream carries what it reads')
            settings = evolve(settings, **{attribute.alias or attribute.name: fitting})
    return evolve(component, settings=settings)


def _inputs(
    component: Component, records: dict[str, type], broken: Collection[str], unknown: bool
) -> tuple[list[str], list[str]]:
    """The streams that a component reads, and what is wrong: one that is not there or does not
    fit.
    """
    inputs: list[str] = []
    wrong: list[str] = []
    whole = _Setting(component.where, getattr(component.definition, "reads", None))
    for setting, name in _named(component.settings, whole):
        there = name in records
        may_lack = setting.optional or (unknown and not there)
        if there and _fits(records[name], setting.reads):
            inputs.append(name)
        elif may_lack or any(f"{name}.".startswith(f"{one}.") for one in broken):
            continue
        elif there:
            wrong.append(_wrong_type(component, setting, name, records))
        else:
            missing = f'{setting.key} = "{name}": there is no such stream'
            wrong.append(f"{missing}{did_you_mean(name, sorted(records))}")
    return inputs, wrong


def _fits(record: type, reads: Reads) -> bool:
    """Whether a stream of such records is what is read. A class that belongs to another plugin is
    known by its name.
    """
    kinds = reads if isinstance(reads, tuple) else (reads,)
    return reads is None or any(
        record.__name__ == kind if isinstance(kind, str) else issubclass(record, kind)
        for kind in kinds
        if kind is not None
    )


@frozen
class _Setting:
    """A setting as its type and its field tell: its full key, what the streams that it names must
    carry (None for anything), and whether the component does without them.
    """

    key: str
    reads: Reads
    optional: bool = False


def _named(settings: Any, whole: _Setting) -> Iterator[tuple[_Setting, str]]:
    """The streams that the fields of settings name.

    A field may say what its stream must carry, `field(metadata={"reads": Bucket})`, else it is what
    the kind says of all. Only a default is optional: a name that somebody wrote must be right.
    """
    hints = typing.get_type_hints(type(settings))
    for attribute in attrs.fields(type(settings)):
        value, metadata = getattr(settings, attribute.name), attribute.metadata
        setting = _Setting(
            f"{whole.key}.{attribute.name}",
            metadata.get("reads", whole.reads),
            metadata.get("optional", False) and value == attribute.default,
        )
        yield from _names(value, hints[attribute.name], setting)


def _names(value: Any, hint: Any, setting: _Setting) -> Iterator[tuple[_Setting, str]]:
    """The streams that a value names, as its type tells: by itself, in lists and tables, and in
    settings within.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for part in parts:
            yield from _names(value, part, setting)
    elif hint is StreamName and isinstance(value, str):
        yield setting, value
    elif isinstance(origin, type) and isinstance(value, origin):
        if isinstance(value, Mapping):
            for key, one in value.items():
                yield from _names(key, parts[0], setting)
                yield from _names(one, parts[1], evolve(setting, key=f"{setting.key}.{key}"))
        elif isinstance(value, list | tuple | set | frozenset):
            for one in value:
                yield from _names(one, parts[0], setting)
    elif isinstance(hint, type) and attrs.has(hint) and isinstance(value, hint):
        yield from _named(value, setting)


def _wrong_type(
    component: Component, setting: _Setting, name: str, records: dict[str, type]
) -> str:
    assert setting.reads is not None
    kinds = setting.reads if isinstance(setting.reads, tuple) else (setting.reads,)
    fitting = [stream for stream, record in records.items() if _fits(record, kinds)]
    wanted = " or ".join(kind if isinstance(kind, str) else kind.__name__ for kind in kinds)
    message = (
        f'{setting.key} = "{name}": carries {records[name].__name__}, '
        f"but {component.kind} reads {wanted}."
    )
    if fitting:
        return f'{message} Did you mean "{fitting[0]}"?'
    return f"{message} No configured stream carries that"
