"""Asks one plugin what it brings, and says in a sentence what is wrong with it.

Nothing that a plugin does here, short of never coming back, costs more than itself: it is imported
and asked alone, and what it answers is checked before anybody relies on it.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs
import pluggy
import typer
from attrs import frozen

from flowd import __version__, plugin
from flowd.plugin import Pair, Sink, Source, Transform
from flowd.stream.held import RETAIN_MAX
from flowd.values.errors import did_you_mean
from flowd.values.installing import lacking

HOOKS = ("flowd_sources", "flowd_transforms", "flowd_sinks", "flowd_pairs", "flowd_commands")


Kind = Source | Transform | Sink | Pair
"""What a plugin may bring a kind of."""


class Unfit(Exception):
    """A plugin cannot be used, for the reason that this says. Its cause is a bug's traceback."""


@frozen
class Brought:
    """What one plugin brings: kinds of component, and commands with the names that they have."""

    kinds: list[Kind]
    commands: list[tuple[list[str], typer.Typer]]


def brought_by(read: Callable[[], types.ModuleType]) -> Brought:
    """Import a plugin and ask its hooks. Unfit for whatever it raises, be it SystemExit, and for
    what it answers wrongly.
    """
    try:
        module = read()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Unfit(f"does not import: {_told(error)}") from None
    try:
        _check_hooks(module)
        sources = _ask(module, "flowd_sources", Source)
        transforms = _ask(module, "flowd_transforms", Transform)
        sinks = _ask(module, "flowd_sinks", Sink)
        pairs = _ask(module, "flowd_pairs", Pair)
        commands = _ask(module, "flowd_commands", typer.Typer)
        kinds = [*sources, *transforms, *sinks, *pairs]
        for kind in kinds:
            _check(kind)
        return Brought(kinds, [(_names(app), app) for app in commands])
    except (KeyboardInterrupt, Unfit):
        raise
    except BaseException as error:
        raise Unfit(f"its hook failed: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """An error in words, with a remedy where one is known."""
    words = repr(error)
    missing = error.name if isinstance(error, ImportError) else None
    ours = missing is not None and missing.split(".")[0] == "flowd"
    if ours or (isinstance(error, TypeError) and "unexpected keyword" in str(error)):
        return f"{words}; it was made for another flowd than {__version__}: upgrade one of the two"
    if isinstance(error, ModuleNotFoundError) and missing:
        return f"{words}; {lacking(missing)}"
    if isinstance(error, SystemExit):
        return f"{words}: it calls exit()"
    return words


# -- hooks


def _check_hooks(module: Any) -> None:
    """Unfit when a hook is unknown, or takes an argument that does not exist."""
    manager = pluggy.PluginManager("flowd")
    manager.add_hookspecs(plugin)
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise Unfit(f"a hook takes what there is not: {' '.join(str(error).split())}") from None
    for hook in manager.get_hookcallers(module) or ():
        needed = not all(impl.optionalhook for impl in hook.get_hookimpls())
        if needed and not hook.has_spec():
            raise Unfit(
                f"its hook {hook.name} is misspelt, or for another flowd than {__version__}"
                f"{did_you_mean(hook.name, HOOKS)}"
            )


def _ask(module: Any, hook: str, kind: type[Any]) -> list[Any]:
    function = getattr(module, hook, None)
    answer = () if function is None else function()
    if inspect.iscoroutine(answer):
        answer.close()
        raise Unfit(f"its hook {hook} is async; write def, hooks only say what there is")
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes):
        raise Unfit(f"its hook {hook} answered {answer!r:.60}; expected a list of {kind.__name__}")
    made = list(answer)
    for one in made:
        if not isinstance(one, kind):
            raise Unfit(f"its hook {hook}: expected a {kind.__name__}, got {one!r:.60}")
    return made


def _names(app: typer.Typer) -> list[str]:
    """What is typed for a plugin's commands. Making them here also finds those that cannot be."""
    whole = typer.Typer()
    whole.add_typer(app)
    return list(typer.main.get_group(whole).commands)


# -- definitions


def _check(definition: Kind) -> None:
    """Unfit when a kind of component cannot work, however it is configured."""
    what = f"{type(definition).__name__.lower()} {definition.kind!r}"
    if not isinstance(definition.kind, str) or not definition.kind:
        raise Unfit(f"{what}: a kind has a name, a text that is not empty")
    if not isinstance(definition.config, type) or not attrs.has(definition.config):
        raise Unfit(f"{what}: its config {definition.config!r:.60} is no attrs class; add @frozen")
    _check_defaults(what, definition.config)
    if isinstance(definition, Pair):
        return
    if definition.run is not None and not _is_async(definition.run):
        raise Unfit(f"{what}: its run is not async, and would hold the daemon; write async def run")
    if isinstance(definition, Sink):
        if not any((definition.run, definition.routes, definition.live, definition.hot)):
            raise Unfit(f"{what} does nothing; give it one of run, routes, live, hot")
        return
    if definition.run is None:
        raise Unfit(f"{what} has no run")
    for name, record in {"record": definition.record, **definition.tables}.items():
        if not isinstance(record, type) or typing.get_origin(record) is not None:
            raise Unfit(f"{what}: its {name} is {record!r:.60}; expected a class")
    if isinstance(definition, Source):
        _check_standby(what, definition)
    if unknown := [name for name in definition.tables_retain if name not in definition.tables]:
        raise Unfit(f"{what}: its tables_retain names {unknown[0]!r}, which is none of its tables")
    for retain in (definition.retain, *definition.tables_retain.values()):
        if type(retain) is not int or not 1 <= retain <= RETAIN_MAX:
            raise Unfit(f"{what}: retain={retain!r}; expected a number up to {RETAIN_MAX}")


def _check_standby(what: str, definition: Source) -> None:
    standby = definition.standby
    if callable(standby):
        if inspect.iscoroutinefunction(inspect.unwrap(standby)):
            raise Unfit(f"{what}: its standby is async; write def, it only looks at settings")
    elif not isinstance(standby, bool):
        raise Unfit(f"{what}: standby={standby!r:.60}; expected True, False or a function")
    if standby and definition.streams is not None:
        raise Unfit(f"{what}: it carries streams of another daemon, and cannot stand by")


def _is_async(run: Callable[..., Any]) -> bool:
    """Whether calling it waits for nothing. A callable that is no function is believed; it is
    looked at again when it is called.
    """
    function = inspect.unwrap(run)
    return inspect.iscoroutinefunction(function) or not inspect.isroutine(function)


def _check_defaults(what: str, config: type[Any]) -> None:
    """Unfit when a setting's default is not of the setting's type: nobody else would notice."""
    try:
        hints = typing.get_type_hints(config)
    except Exception as error:
        raise Unfit(f"{what}: the types of its settings cannot be read: {error!r}") from None
    for attribute in attrs.fields(config):
        default, hint = attribute.default, hints.get(attribute.name, Any)
        # Factory is a class, though its stub says that it is a function.
        made = default in (attrs.NOTHING, None) or isinstance(default, attrs.Factory)  # type: ignore[arg-type]
        if not made and attribute.converter is None and not _fits(default, hint):
            shown = getattr(hint, "__name__", str(hint))
            raise Unfit(f"{what}: {attribute.name} = {default!r:.60}: the default is no {shown}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type, as far as that can be told at a glance."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _fits(value, hint.__supertype__)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if hint in (int, float, Decimal):
        wider = {int: (int,), float: (int, float), Decimal: (int, Decimal)}[hint]
        return isinstance(value, wider) and not isinstance(value, bool)
    if hint in (str, bytes, bool):
        return isinstance(value, hint)
    if origin in (list, tuple, set, frozenset, dict):
        return isinstance(value, list | tuple | set | frozenset | Mapping)
    return True
