"""The streams of other daemons that sources carry: which there are is asked before anything is
wired, since no configuration says it.
"""

from collections.abc import Iterable, Iterator, Mapping

import trio
from attrs import frozen

from flowd.plugin import Source, Transform
from flowd.setup.config import Component, Config
from flowd.setup.registry import Registry
from flowd.stream.held import RETAIN_MAX
from flowd.stream.mirror import Mirrored
from flowd.upstream.outages import HERE as OUTAGES_HERE
from flowd.upstream.outages import NAME as OUTAGES
from flowd.upstream.outages import Outage
from flowd.values.errors import UpstreamError


@frozen
class Carried:
    """A stream of another daemon: what it is there, and the class of its records here. `why_not`
    says why it cannot be here, and what can be done; None where it can.
    """

    there: Mirrored
    record: type
    why_not: str | None = None


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
    reached.
    """
    return {part.name: resolve(await _ask(part), registry) for part in carriers(config)}


async def _ask(part: Component) -> Mapping[str, Mirrored]:
    try:
        with trio.fail_after(ASK_S):
            told: Mapping[str, Mirrored] = await part.definition.streams(part.settings)
    except trio.TooSlowError:
        raise UpstreamError(f"{part.where}: did not answer within {ASK_S:g}s") from None
    except UpstreamError as error:
        raise UpstreamError(f"{part.where}: {error}", retry_s=error.retry_s) from error
    return told


def resolve(told: Mapping[str, Mirrored], registry: Registry) -> dict[str, Carried]:
    """Each stream with its class of record, or with why it cannot be here."""
    known = _named(_records(registry))
    found: dict[str, Carried] = {}
    for name, there in told.items():
        classes = _written(name, there, registry) or known.get(there.record, [])
        why = _why_not(name, there, classes)
        found[name] = Carried(there, object if why else classes[0], why)
    return found


def _written(name: str, there: Mirrored, registry: Registry) -> list[type]:
    """The classes of that name among those that the writer of the stream has here, which decides
    where others have such a class too: it is flowd itself, or the stream's kind of component. None
    where the kind was not told, or is not here.
    """
    writers = (registry.sources.get(there.kind), registry.transforms.get(there.kind))
    own = [Outage] if name in (OUTAGES, OUTAGES_HERE) else []
    return _named([*own, *_brought(filter(None, writers))]).get(there.record, [])


def _why_not(name: str, there: Mirrored, classes: list[type]) -> str | None:
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        return f"{name!r:.60} is no stream's name; rename it there"
    if not classes:
        return (
            f"the stream {name} carries {there.record:.60}, which no plugin here knows; "
            "install the plugin that brings it there"
        )
    if len(classes) > 1:
        modules = " and ".join(sorted(one.__module__ for one in classes))
        return (
            f"the stream {name} carries {there.record}, and {modules} have such a "
            "class each; leave one alone by flowd.plugins.disable"
        )
    if not 1 <= there.retain <= RETAIN_MAX:
        return f"the stream {name} retains {there.retain} records, of at most {RETAIN_MAX}"
    return None


def _named(records: Iterable[type]) -> dict[str, list[type]]:
    """Classes of record by name, each once."""
    found: dict[str, list[type]] = {}
    for one in dict.fromkeys(records):
        found.setdefault(one.__name__, []).append(one)
    return found


def _records(registry: Registry) -> Iterator[type]:
    """All that flowd and plugins bring."""
    yield Outage
    yield from _brought([*registry.sources.values(), *registry.transforms.values()])


def _brought(kinds: Iterable[Source | Transform]) -> Iterator[type]:
    for kind in kinds:
        if not isinstance(kind, Source) or kind.streams is None:
            yield kind.record
        yield from kind.tables.values()
