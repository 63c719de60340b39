"""All that can be wrong with a configuration before anything runs, found at once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio
from attrs import frozen

from flowd.setup import carried, config, wiring
from flowd.setup.config import Component, Config
from flowd.setup.registry import Registry
from flowd.setup.wiring import Plan
from flowd.upstream.http import Services
from flowd.values.errors import Mistakes, UpstreamError, UserError
from flowd.values.settings import Secret
from flowd.values.tally import Tally

PROBE_S = 30.0
"""An upstream that has not said by then what it knows of the settings is not waited for."""


@frozen
class Checked:
    """A configuration, the plan for it where there can be one, and all that is wrong with it."""

    config: Config
    plan: Plan | None
    mistakes: list[str]


def read(path: Path) -> str:
    """The text of a file; UserError that names the file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; `flowd init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def look(path: Path, registry: Registry) -> Checked:
    """Read a file and find what keeps a daemon from starting; UserError when it cannot be read."""
    draft = config.draft(read(path), registry)
    mistakes = Mistakes()
    mistakes.found += draft.mistakes
    plan: Plan | None = None
    with mistakes.noted():
        plan = wiring.plan(draft.config, draft.broken)
    return Checked(draft.config, plan, mistakes.found)


def load(path: Path, registry: Registry) -> Config:
    """The configuration in a file, which can start; UserError that names the file and each key."""
    found = look(path, registry)
    if found.mistakes:
        raise UserError(told(path, found.mistakes))
    return found.config


def told(path: Path, mistakes: Sequence[str]) -> str:
    """What is wrong with a file: one sentence in its line, several below each other."""
    if len(mistakes) == 1:
        return f"{path}: {mistakes[0]}"
    return "\n".join([f"{path}: {len(mistakes)} mistakes", *(f"  {one}" for one in mistakes)])


def lacks(config: Config) -> list[str]:
    """What a daemon would start without and not be of use: secrets without a value, which keep
    their components from running, and a configuration of nothing.
    """
    found = [
        f"{where}: {secret.source} is not set, and {part.kind} cannot run without it"
        for part in config.components
        for where, secret in _secrets(part.settings, part.where)
        if not secret.available
    ]
    if not config.components:
        found.append("it configures nothing that would run; `flowd init` writes one that does")
    return found


def _secrets(value: Any, where: str) -> Iterator[tuple[str, Secret]]:
    """The secrets in settings, with their keys."""
    if isinstance(value, Secret):
        yield where, value
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            yield from _secrets(getattr(value, attribute.name), f"{where}.{attribute.name}")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _secrets(one, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secrets(one, where)


async def whole(config: Config, registry: Registry) -> Plan:
    """The plan with the streams that other daemons have now, who are asked. UserError with all that
    is wrong; a daemon that cannot be reached is, too.
    """
    try:
        return wiring.plan(config, carried=await carried.ask(config, registry))
    except UpstreamError as error:
        raise UserError(str(error)) from None


async def ready(config: Config, registry: Registry) -> carried.AllCarried:
    """The streams that other daemons have, once all that is read here is among them: a daemon that
    begins tells of its streams one by one. UpstreamError until then.
    """
    found = await carried.ask(config, registry)
    try:
        wiring.plan(config, carried=found)
    except UserError as error:
        raise UpstreamError(f"not all is there that is read here: {error}") from None
    return found


async def probe(config: Config, services: Services) -> list[str]:
    """What upstreams say against the settings of their sources, each behind its component's name;
    an upstream that does not answer is named too. All are asked at once.
    """
    found: dict[str, list[str]] = {}
    asked = [part for part in config.of("sources") if part.definition.probe is not None]

    async def ask(part: Component) -> None:
        found[part.name] = await _asked(part, services)

    async with trio.open_nursery() as nursery:
        for part in asked:
            nursery.start_soon(ask, part)
    return [f"{part.where}: {one}" for part in asked for one in found[part.name]]


async def _asked(part: Component, services: Services) -> list[str]:
    try:
        with trio.fail_after(PROBE_S):
            said = await part.definition.probe(part.settings, services.http(Tally()))
        return [str(one) for one in said]
    except trio.TooSlowError:
        return [f"its upstream did not answer within {PROBE_S:g}s"]
    except UpstreamError as error:
        words = str(error).removeprefix("cannot be asked: ")
        return [f"its upstream cannot be asked: {words}"]
    except Exception as error:
        return [f"its plugin's probe failed: {error!r}"]
