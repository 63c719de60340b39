"""The table `[pair]`: that a second daemon of this configuration stands by, and where both meet."""

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import frozen

from flowd.plugin import Pair
from flowd.setup.registry import Registry
from flowd.setup.structure import as_table, structure
from flowd.values.errors import UserError
from flowd.values.settings import Seconds

TABLE = "pair"


@frozen
class Common:
    """The keys that every pair has, whatever its kind."""

    patience: Seconds = Seconds(120.0)


@frozen
class Paired:
    """Where two daemons meet, and how long one that does not know all waits for one that does."""

    definition: Pair
    settings: Any
    patience_s: float


def paired(tables: Mapping[str, Any], registry: Registry) -> Paired | None:
    """What the configuration says of a pair, None where it has none; UserError."""
    if TABLE not in tables:
        return None
    keys = dict(as_table(tables[TABLE], TABLE))
    kind = keys.pop("kind", None)
    if not isinstance(kind, str):
        raise UserError('[pair]: needs kind = "…"; `flowd plugins` lists the kinds there are')
    definition = registry.kind("pairs", str(kind), TABLE)
    assert isinstance(definition, Pair)
    names = {attribute.name for attribute in attrs.fields(Common)}
    shared = {key: keys.pop(key) for key in list(keys) if key in names}
    common = structure(shared, Common, TABLE)
    if common.patience < 1:
        raise UserError('pair.patience: expected at least "1s"')
    return Paired(
        definition, structure(keys, definition.config, TABLE, also=names), common.patience
    )
