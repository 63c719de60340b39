"""What works as it is configured and may not be what was meant: for the start and `check`."""

from collections.abc import Iterable
from typing import Any

from flowd.door.addresses import is_local
from flowd.door.rules import ANY
from flowd.setup.config import Component, Config, Settings


def remarks(config: Config, listens: Iterable[tuple[str, int]]) -> list[str]:
    """Sentences, each a line, that name the key to set. `listens` are hosts and ports."""
    settings = config.settings
    tokens = [("flowd.read_token", settings.read_token)]
    tokens += [(f"{part.where}.read_token", part.read_token) for part in config.components]
    found = [
        f"{key}: {token.source} is not set, so that only the admin can read what it is for"
        for key, token in tokens
        if token is not None and not token.available
    ]
    for part in config.components:
        found += [f"{part.where}: {remark}" for remark in _of(part)]
    public = [
        f"{f'[{host}]' if ':' in host else host}:{port}"
        for host, port in listens
        if not (is_local(host) or host == "localhost" or host.startswith("unix:"))
    ]
    wanted = _wanted(settings)
    if public and wanted:
        found.append(f"other machines can reach {', '.join(public)}: {'; '.join(wanted)}")
    return found


def _of(part: Component) -> list[str]:
    """What a plugin says of a component's settings. A mistake of its own stops nobody."""
    if part.definition.remarks is None:
        return []
    try:
        said = part.definition.remarks(part.settings)
        told: list[Any] = [None] if isinstance(said, str | None) else list(said)
        if not all(isinstance(one, str) for one in told):
            raise TypeError(f"expected a list of texts, got {said!r:.60}")
    except Exception as error:
        return [f"its plugin's remarks cannot be told: {error!r}"]
    return told


def _wanted(settings: Settings) -> list[str]:
    """What to set where others can reach this daemon."""
    wanted: list[str] = []
    token = settings.admin_token
    if token is None or not token.available:
        wanted.append("set flowd.admin_token, without which nobody can start a component again")
    if ANY in settings.allow_origins:
        wanted.append(
            'list pages in flowd.allow_origins instead of "*", by which any page of the web may '
            "follow streams"
        )
    if ANY in settings.allow_hosts:
        wanted.append(
            'list names in flowd.allow_hosts instead of "*", by which a page may give this machine '
            "a name of its own"
        )
    return wanted
