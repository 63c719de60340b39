"""The paths that sinks answer: what they are, and that each belongs to one sink."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flowd.door import base
from flowd.door.paths import Hot, Live
from flowd.door.routes import Route
from flowd.setup.config import Component
from flowd.values.errors import Mistakes, UserError

BUILT_IN = (
    *("/health", "/health/NAME", "/status", "/metrics", "/streams", "/openapi.json"),
    *("/components/NAME/reconnect", "/tickets"),
)
"""What flowd answers itself. A sink may have `/`, and what lies below these."""


def paths(sinks: Sequence[Component], base_path: str = "") -> Mapping[str, list[Live | Hot]]:
    """The paths of each sink, by its name; UserError with each sink whose definition raises, and
    each path that cannot be answered, is taken, or begins like `base_path`, where a proxy has the
    daemon.
    """
    found: dict[str, list[Live | Hot]] = {}
    taken: dict[str, Component] = {}
    mistakes = Mistakes()
    with mistakes.noted():
        for built_in in BUILT_IN:
            check_base("flowd", built_in, base_path)
    for sink in sinks:
        with mistakes.noted():
            found[sink.name] = _made(sink)
        for leads_to in found.get(sink.name, ()):
            with mistakes.noted():
                _check(sink, leads_to)
                check_base(sink.where, leads_to.path, base_path)
                # What a name in the path is called makes no difference to who is asked for it.
                plain = re.sub(r"\{[a-z_]+\}", "{}", leads_to.path)
                if plain in taken:
                    where = f"[{sink.where}]: the path {leads_to.path}"
                    raise UserError(f"{where} is {taken[plain].where}'s already; choose another")
                taken[plain] = sink
    mistakes.tell()
    return found


def check_base(where: str, path: str, base_path: str) -> None:
    """UserError when a path of ours begins like the one that a proxy has the daemon at: nobody
    could tell whether a proxy took that away.
    """
    if base.takes(base_path, path):
        raise UserError(
            f'flowd.base_path = "{base_path}": {where} answers {path} itself; choose another, '
            "for the proxy too"
        )


def _made(sink: Component) -> list[Live | Hot]:
    made: list[Any] = []
    for name, make in (("live", sink.definition.live), ("hot", sink.definition.hot)):
        try:
            answer = [] if make is None else make(sink.settings)
        except UserError as error:
            raise UserError(f"[{sink.where}]: {error}") from None
        except Exception as error:
            raise UserError(f"[{sink.where}]: {sink.kind}'s {name} failed: {error!r}") from error
        made += answer if isinstance(answer, list) else [answer]
    return made


def _check(sink: Component, leads_to: Any) -> None:
    where = f"[{sink.where}]"
    if not isinstance(leads_to, Live | Hot):
        raise UserError(f"{where}: {sink.kind} answers {leads_to!r:.60}; expected a Live or a Hot")
    path = leads_to.path
    if not path.startswith("/"):
        raise UserError(f'{where}: the path "{path}" has to begin with "/"')
    if isinstance(leads_to, Live) and bool(leads_to.head) == leads_to.websocket:
        raise UserError(
            f"{where}: {sink.kind}'s {path} has to be one of two: a Live with a head, for HTTP, or "
            "with websocket=True"
        )
    route = Route(path, leads_to)
    for built_in in BUILT_IN:
        if route.match(built_in) is not None:
            raise UserError(f"{where}: the path {path} is flowd's own ({built_in}); choose another")
