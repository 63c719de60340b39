"""The streams of other daemons that sources carry: which there are is asked before anything is
wired, since no configuration says it.
"""

from collections.abc import Iterable, Iterator, Mapping

import trio
from attrs import frozen

from flowd.setup.config import Component, Config
from flowd.setup.registry import Registry
from flowd.stream.held import RETAIN_MAX
from flowd.stream.mirror import Mirrored
from flowd.upstream.outages import Outage
from flowd.values.errors import Mistakes, UpstreamError


@frozen
class Carried:
    """A stream of another daemon: what it is there, and the class of its records here."""

    there: Mirrored
    record: type


AllCarried = Mapping[str, Mapping[str, Carried]]
"""By the name of the source, and the stream's."""

ASK_S = 20.0
"""Another daemon's streams are known by then, or cannot be."""


def carriers(config: Config) -> list[Component]:
    """The sources that carry streams of other daemons, and have none of their own."""
    return [part for part in config.of("sources") if carries(part)]


def carries(part: Component) -> bool:
    """Whether it is such a source."""
    return getattr(part.definition, "streams", None) is not None


async def ask(config: Config, registry: Registry) -> AllCarried:
    """Which streams there are, of all sources that carry some. UpstreamError when one cannot be
    reached; UserError with each stream that cannot be here.
    """
    found: dict[str, dict[str, Carried]] = {}
    mistakes = Mistakes()
    for part in carriers(config):
        told = await _ask(part)
        with mistakes.noted():
            found[part.name] = resolve(part.where, told, registry)
    mistakes.tell()
    return found


async def _ask(part: Component) -> Mapping[str, Mirrored]:
    try:
        with trio.fail_after(ASK_S):
            told: Mapping[str, Mirrored] = await part.definition.streams(part.settings)
    except trio.TooSlowError:
        raise UpstreamError(f"{part.where}: did not answer within {ASK_S:g}s") from None
    except UpstreamError as error:
        raise UpstreamError(f"{part.where}: {error}", retry_s=error.retry_s) from error
    return told


def resolve(where: str, told: Mapping[str, Mirrored], registry: Registry) -> dict[str, Carried]:
    """Each stream with its class of record; UserError for those whose class nobody brings."""
    known = _classes(registry)
    found: dict[str, Carried] = {}
    mistakes = Mistakes()
    for name, there in told.items():
        classes = known.get(there.record, [])
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
            mistakes.found.append(f"[{where}]: {name!r:.60} is no stream's name; rename it there")
        elif not classes:
            mistakes.found.append(
                f"[{where}]: the stream {name} carries {there.record}, which no plugin here knows; "
                "install the plugin that brings it there"
            )
        elif len(classes) > 1:
            modules = " and ".join(sorted(one.__module__ for one in classes))
            mistakes.found.append(
                f"[{where}]: the stream {name} carries {there.record}, and {modules} have such a "
                "class each; leave one alone by flowd.plugins.disable"
            )
        elif not 1 <= there.retain <= RETAIN_MAX:
            mistakes.found.append(f"[{where}]: the stream {name} retains {there.retain} records")
        else:
            found[name] = Carried(there, classes[0])
    mistakes.tell()
    return found


def _classes(registry: Registry) -> dict[str, list[type]]:
    """The classes of record that plugins bring, by name."""
    found: dict[str, list[type]] = {}
    for one in _records(registry):
        same = found.setdefault(one.__name__, [])
        if one not in same:
            same.append(one)
    return found


def _records(registry: Registry) -> Iterator[type]:
    yield Outage
    kinds: Iterable[object] = (*registry.sources.values(), *registry.transforms.values())
    for kind in kinds:
        if getattr(kind, "streams", None) is None:
            yield kind.record  # type: ignore[attr-defined]  # a source or a transform
        yield from kind.tables.values()  # type: ignore[attr-defined]  # a source or a transform
