"""Components to streams: which stream each reads, in which order they start; refuses what cannot
work.
"""

import difflib
from typing import Any

import attrs
from attrs import frozen

from flowd.setup.config import Component, Config
from flowd.upstream.outages import NAME as OUTAGES
from flowd.upstream.outages import Outage
from flowd.values.errors import UserError

INPUT_KEYS = ("input", "inputs", "orders", "volume")
"""The settings by which components name the streams that they read."""


@frozen
class Plan:
    """What runs: components in the order in which they start, each stream's record class and
    writer, and the streams that each component reads.
    """

    order: list[Component]
    records: dict[str, type]
    writers: dict[str, str]
    inputs: dict[str, list[str]]


def plan(config: Config) -> Plan:
    """The plan for a configuration; UserError when a stream is missing, of the wrong type, or part
    of a circle.
    """
    writers = {c.name: c for c in config.components if c.table != "sinks"}
    records: dict[str, type] = {name: c.definition.record for name, c in writers.items()}
    for name, component in list(writers.items()):
        for table, record in component.definition.tables.items():
            full = table_name(name, table)
            if full in writers:
                raise UserError(
                    f"[{writers[full].where}]: {component.where} keeps a stream of this name; "
                    "choose another"
                )
            writers[full] = component
            records[full] = record
    records[OUTAGES] = Outage
    inputs = {component.name: _inputs(component, records) for component in config.components}
    for component in config.components:
        for key, name in _named(component):
            reads = _reads(component, key)
            if reads is not None and not issubclass(records[name], reads):
                raise UserError(_wrong_type(component, key, name, reads, records))
    order: list[Component] = config.of("sources")
    waiting = config.of("transforms")
    while waiting:
        ready = [
            c
            for c in waiting
            if all(name == OUTAGES or writers[name] in order for name in inputs[c.name])
        ]
        if not ready:
            names = ", ".join(c.where for c in waiting)
            raise UserError(f"{names}: these read each other in a circle; nothing could start it")
        order += ready
        waiting = [c for c in waiting if c not in ready]
    written_by = {stream: component.name for stream, component in writers.items()}
    return Plan([*order, *config.of("sinks")], records, written_by, inputs)


def table_name(component: str, table: str) -> str:
    """The stream's name of a table that a component keeps for all to read."""
    return f"{component}.{table}"


def _named(component: Component) -> list[tuple[str, str]]:
    """The streams that a component's settings name, with the key that names each."""
    found: list[tuple[str, str]] = []
    for attribute in attrs.fields(type(component.settings)):
        if attribute.name in INPUT_KEYS:
            value: Any = getattr(component.settings, attribute.name)
            names = value if isinstance(value, list | tuple) else [value]
            found += [(attribute.name, str(name)) for name in names if name is not None]
    return found


def _reads(component: Component, key: str) -> type | tuple[type, ...] | None:
    """What a setting's stream must carry: what the setting itself says, `field(metadata={"reads":
    Bucket})`, else what the kind says of all; None when anything will do.
    """
    attribute = getattr(attrs.fields(type(component.settings)), key)
    reads: type | tuple[type, ...] | None = attribute.metadata.get(
        "reads", getattr(component.definition, "reads", None)
    )
    return reads


def _inputs(component: Component, records: dict[str, type]) -> list[str]:
    names: list[str] = []
    for key, name in _named(component):
        if name not in records:
            message = f'{component.where}.{key} = "{name}": there is no such stream'
            close = difflib.get_close_matches(name, records, 1)
            if close:
                message += f'. Did you mean "{close[0]}"?'
            else:
                message += f"; there are: {', '.join(sorted(records))}"
            raise UserError(message)
        names.append(name)
    return names


def _wrong_type(
    component: Component,
    key: str,
    name: str,
    reads: type | tuple[type, ...],
    records: dict[str, type],
) -> str:
    fitting = [stream for stream, record in records.items() if issubclass(record, reads)]
    kinds = reads if isinstance(reads, tuple) else (reads,)
    wanted = " or ".join(kind.__name__ for kind in kinds)
    message = (
        f'{component.where}.{key} = "{name}": carries {records[name].__name__}, '
        f"but {component.kind} reads {wanted}."
    )
    if fitting:
        return f'{message} Did you mean "{fitting[0]}"?'
    return f"{message} No configured stream carries that"
