"""Finds plugins, checks their hooks, and answers "which kinds are there?".

Plugins come from entry points in the group `flowd` and from the modules in `--plugins-dir`. One
that does not import, or whose hook raises, is reported and left out; it stops the daemon only if
the configuration needs it.
"""

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy
import typer
from attrs import define, field

from flowd import plugin
from flowd.plugin import Sink, Source, Transform
from flowd.values.errors import UserError, did_you_mean

logger = logging.getLogger("flowd.registry")

K = TypeVar("K", Source, Transform, Sink)


@define
class Found:
    """One plugin, as `flowd plugins` lists it."""

    name: str
    origin: str
    kinds: list[str] = field(factory=list)
    commands: int = 0
    error: str | None = None


class Registry:
    """The kinds of component and the commands of all plugins that could be loaded."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.sources: dict[str, Source] = {}
        self.transforms: dict[str, Transform] = {}
        self.sinks: dict[str, Sink] = {}
        self.commands: list[typer.Typer] = []
        self._origin: dict[str, str] = {}

    def kind(self, table: str, kind: str, where: str) -> Source | Transform | Sink:
        """The definition of a kind of component; UserError with a remedy when there is none."""
        tables: dict[str, dict[str, Any]] = {
            "sources": self.sources,
            "transforms": self.transforms,
            "sinks": self.sinks,
        }
        kinds = tables[table]
        definition: Source | Transform | Sink | None = kinds.get(kind)
        if definition is not None:
            return definition
        message = f'{where}.kind = "{kind}": no plugin brings such a {table[:-1]}'
        message += did_you_mean(kind, sorted(kinds))
        broken = [found for found in self.found if found.error]
        if broken:
            faults = "; ".join(f"{found.name} ({found.error})" for found in broken)
            stop = "" if message.endswith("?") else "."
            message += f"{stop} These plugins failed to load: {faults}"
        raise UserError(message)


def load(plugins_dir: Path | None = None) -> Registry:
    """All plugins that are installed, and those in `plugins_dir`.

    UserError when a hook is misspelt or takes an argument that does not exist, or two plugins
    bring the same kind.
    """
    registry = Registry()
    manager = pluggy.PluginManager("flowd")
    manager.add_hookspecs(plugin)
    for name, origin, module in _modules(registry, plugins_dir):
        try:
            manager.register(module, name=name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise UserError(f"plugin {name} ({origin}): {error}") from None
        except ValueError:
            first = next(found.origin for found in registry.found if found.name == name)
            raise UserError(
                f"two plugins are called {name}: {first} and {origin}; rename or remove one"
            ) from None
        # pluggy ends a call for all plugins when one of them raises: so each is asked on its own.
        found = Found(name, origin)
        registry.found.append(found)
        try:
            _ask(registry, found, module)
        except UserError:
            raise
        except Exception as error:
            found.error = f"its hook failed: {error!r}"
            logger.error("plugin %s (%s): %s", name, origin, found.error, exc_info=error)
    return registry


def _modules(registry: Registry, plugins_dir: Path | None) -> Iterator[tuple[str, str, ModuleType]]:
    for entry in sorted(importlib.metadata.entry_points(group="flowd"), key=lambda e: e.name):
        origin = entry.dist.name if entry.dist is not None else "unknown distribution"
        try:
            yield entry.name, origin, entry.load()
        except Exception as error:
            _broken(registry, entry.name, origin, error)
    if plugins_dir is None:
        return
    if not plugins_dir.is_dir():
        raise UserError(f"--plugins-dir {plugins_dir}: there is no such directory")
    for path in sorted(plugins_dir.iterdir()):
        package = path / "__init__.py"
        if path.suffix == ".py" and path.stem != "__init__":
            name, file = path.stem, path
        elif package.is_file():
            name, file = path.name, package
        else:
            continue
        try:
            yield name, str(path), _import(name, file)
        except Exception as error:
            _broken(registry, name, str(path), error)


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


def _broken(registry: Registry, name: str, origin: str, error: Exception) -> None:
    registry.found.append(Found(name, origin, error=f"does not import: {error!r}"))
    logger.error("plugin %s (%s) does not import: %r", name, origin, error)


def _ask(registry: Registry, found: Found, module: Any) -> None:
    _add(registry, found, registry.sources, _call(module, "flowd_sources"), Source)
    _add(registry, found, registry.transforms, _call(module, "flowd_transforms"), Transform)
    _add(registry, found, registry.sinks, _call(module, "flowd_sinks"), Sink)
    for app in _call(module, "flowd_commands"):
        registry.commands.append(app)
        found.commands += 1


def _call(module: Any, hook: str) -> Iterable[Any]:
    function = getattr(module, hook, None)
    return () if function is None else function()


def _add(
    registry: Registry, found: Found, kinds: dict[str, K], new: Iterable[K], kind: type[K]
) -> None:
    for definition in new:
        if not isinstance(definition, kind):
            raise TypeError(f"expected a {kind.__name__}, got {definition!r}")
        if definition.kind in kinds:
            first = registry._origin[f"{kind.__name__} {definition.kind}"]
            raise UserError(
                f"plugins {first} and {found.name} both bring a {kind.__name__.lower()} of kind "
                f'"{definition.kind}"; remove one of them'
            )
        kinds[definition.kind] = definition
        registry._origin[f"{kind.__name__} {definition.kind}"] = found.name
        found.kinds.append(f"{kind.__name__.lower()} {definition.kind}")
