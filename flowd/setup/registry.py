"""Finds plugins, checks what they bring, and answers "which kinds are there?".

Plugins come from entry points in the group `flowd` and from the modules in `--plugins-dir`. Flowd's
own are asked first, so that what they bring is never taken. Whatever is wrong with another one, it
is left out whole, with a sentence that says why; that stops the daemon only if the configuration
needs what it would have brought.
"""

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from attrs import define, field

from flowd.plugin import Pair, Sink, Source, Transform
from flowd.setup import hooks
from flowd.setup.hooks import Brought, Kind, Unfit
from flowd.values.errors import UserError, did_you_mean

logger = logging.getLogger("flowd.registry")

OWN = "flowd-daemon"
"""The distribution whose plugins come first."""


@define
class Found:
    """One plugin, as `flowd plugins` lists it. One with an `error` and no kinds was left out."""

    name: str
    origin: str
    kinds: list[str] = field(factory=list)
    commands: int = 0
    error: str | None = None
    disabled: bool = False


class Registry:
    """The kinds of component and the commands of all plugins that could be loaded."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.sources: dict[str, Source] = {}
        self.transforms: dict[str, Transform] = {}
        self.sinks: dict[str, Sink] = {}
        self.pairs: dict[str, Pair] = {}
        self.commands: list[typer.Typer] = []
        self._origin: dict[str, Found] = {}
        """Who brought a kind, `source NAME`, or a command, `command NAME`."""

    def kind(self, table: str, kind: str, where: str) -> Kind:
        """The definition of a kind of component, or of a pair; UserError with a remedy when there
        is none.
        """
        tables: dict[str, dict[str, Any]] = {
            "sources": self.sources,
            "transforms": self.transforms,
            "sinks": self.sinks,
            "pairs": self.pairs,
        }
        kinds = tables[table]
        definition: Kind | None = kinds.get(kind)
        if definition is not None:
            return definition
        message = f'{where}.kind = "{kind}": no plugin brings such a {table[:-1]}'
        message += did_you_mean(kind, sorted(kinds))
        stop = "" if message.endswith("?") else "."
        broken = [found for found in self.found if found.error and not found.kinds]
        if broken:
            faults = "; ".join(f"{found.name} ({found.error})" for found in broken)
            message += f"{stop} These plugins failed to load: {faults}"
            stop = "."
        if disabled := [found.name for found in self.found if found.disabled]:
            message += f"{stop} These are disabled by flowd.plugins: {', '.join(disabled)}"
        raise UserError(message)

    def add(self, found: Found, brought: Brought, taken: Collection[str] = ()) -> None:
        """Take up what a plugin brings, or nothing of it: Unfit when one of its kinds is taken.

        A command that is taken, by another plugin or among the `taken`, is alone left out.
        """
        kinds = [f"{type(one).__name__.lower()} {one.kind}" for one in brought.kinds]
        for index, name in enumerate(kinds):
            if name in kinds[:index]:
                raise Unfit(f"it brings the {name} twice; rename one")
            if name in self._origin:
                first = self._origin[name]
                raise Unfit(
                    f"{name} is what plugin {first.name} ({first.origin}) brings already; "
                    "rename the kind, or remove one of the two"
                )
        for name, one in zip(kinds, brought.kinds, strict=True):
            self._origin[name] = found
            if isinstance(one, Source):
                self.sources[one.kind] = one
            elif isinstance(one, Transform):
                self.transforms[one.kind] = one
            elif isinstance(one, Sink):
                self.sinks[one.kind] = one
            else:
                self.pairs[one.kind] = one
        found.kinds = kinds
        for names, app in brought.commands:
            found.error = self._add_command(found, names, app, taken) or found.error

    def _add_command(
        self, found: Found, names: list[str], app: typer.Typer, taken: Collection[str]
    ) -> str | None:
        for name in names:
            first = self._origin.get(f"command {name}")
            if name in taken or first is not None:
                whose = "flowd itself" if first is None else f"plugin {first.name}"
                return f'its command "{name}" is left out: {whose} has one; rename it'
        self.commands.append(app)
        self._origin |= {f"command {name}": found for name in names}
        found.commands += 1
        return None


def load(
    plugins_dir: Path | None = None,
    *,
    disable: Collection[str] = (),
    taken: Collection[str] = (),
    quiet: bool = False,
) -> Registry:
    """All plugins that are installed, and those in `plugins_dir`, but for those named in `disable`,
    which are not even imported. `taken` are names that no command may have. Unless `quiet`, the log
    says what is left out.

    UserError when there is no such directory; what is wrong with a plugin is told in `found`.
    """
    registry = Registry()
    first: dict[str, str] = {}
    for name, origin, read in _plugins(plugins_dir):
        found = Found(name, origin)
        registry.found.append(found)
        if name in disable:
            found.disabled = True
            continue
        trace: BaseException | None = None
        try:
            if name in first:
                raise Unfit(f"another plugin has this name, from {first[name]}; rename one")
            first[name] = origin
            registry.add(found, hooks.brought_by(read), taken)
        except Unfit as error:
            found.error, trace = str(error), error.__cause__
        if found.error and not quiet:
            logger.error(
                'plugin %s (%s)%s: %s -- mend it, or have it left alone: disable = ["%s"] in '
                "flowd.plugins",
                *(name, origin, "" if found.kinds else " is left out", found.error, name),
                exc_info=trace,
            )
    return registry


def _plugins(plugins_dir: Path | None) -> Iterator[tuple[str, str, Callable[[], ModuleType]]]:
    """Name, origin and how to import it, of each plugin there is."""
    installed = [
        (entry.dist.name if entry.dist is not None else "unknown distribution", entry)
        for entry in importlib.metadata.entry_points(group="flowd")
    ]
    for origin, entry in sorted(installed, key=lambda one: (one[0] != OWN, one[1].name, one[0])):
        yield entry.name, origin, entry.load
    if plugins_dir is None:
        return
    if not plugins_dir.is_dir():
        raise UserError(f"--plugins-dir {plugins_dir}: there is no such directory")
    for path in sorted(plugins_dir.iterdir()):
        package = path / "__init__.py"
        if path.suffix == ".py" and path.stem != "__init__":
            yield path.stem, str(path), partial(_import, path.stem, path)
        elif package.is_file():
            yield path.name, str(path), partial(_import, path.name, package)


def _import(name: str, file: Path) -> ModuleType:
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) != str(file):
        raise ImportError(f"a module is called {name} already; rename this one")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
