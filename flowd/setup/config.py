"""The configuration: TOML to attrs values, with errors that name the key and say what to do.

A component's table is its plugin's `Config` class, structured by cattrs with unknown keys
forbidden; the few keys that every component has are taken out first.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import field, frozen

from flowd.door import base, readers
from flowd.door.rules import Rules
from flowd.setup.paired import TABLE as PAIR
from flowd.setup.paired import Paired, paired
from flowd.setup.registry import Registry
from flowd.setup.retained import behind_of, retain_of
from flowd.setup.structure import as_table, known_keys, structure
from flowd.setup.supervisor import Restart
from flowd.stream.held import Behind, Retain
from flowd.values.environment import TABLES, Used, document
from flowd.values.errors import Mistakes, UserError
from flowd.values.limits import Limits
from flowd.values.settings import Seconds, Secret, Size

LIMIT_MAX = 1000
"""Failures that are remembered of a component."""
DELAY_MIN_S = 0.05
MEMORY_MIN = 16 * 1024 * 1024
LOG_MIN = 64 * 1024
COUNTS = (
    *("edges", "max_clients", "max_clients_per_address", "max_connections_per_address"),
    "max_requests_per_second",
)
RESERVED = ("outages", "outages.edge")


@frozen
class Plugins:
    """Which of the plugins that are installed are left alone."""

    disable: list[str] = field(factory=list)


@frozen
class Settings:
    """The `[flowd]` table: the daemon itself."""

    listen: str | list[str] = "127.0.0.1:4200"
    state: str = "flowd.db"
    edges: int | None = None
    admin_token: Secret | None = None
    read_token: Secret | None = None
    ticket_key: Secret | None = field(default=None, validator=readers.check_key)
    save_every: Seconds = Seconds(5.0)
    durability: Literal["process", "disk"] = "process"
    lag_max: Seconds = Seconds(5.0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    log_dir: str | None = None
    log_dir_max: Size = Size(16 * 1024 * 1024)
    max_clients: int = 1000
    max_clients_per_address: int | None = None
    max_connections_per_address: int | None = None
    max_requests_per_second: int | None = None
    allow_origins: list[str] = field(factory=list)
    allow_hosts: list[str] = field(factory=list)
    trusted_proxies: list[str] = field(factory=list)
    base_path: str = field(default="", validator=base.check)
    slow_consumer_timeout: Seconds = Seconds(1.0)
    slow_consumer_limit: Seconds = Seconds(60.0)
    heartbeat: Seconds = Seconds(15.0)
    send_buffer: Size = Size(128 * 1024)
    memory_budget: Size = Size(256 * 1024 * 1024)
    plugins: Plugins = Plugins()
    behind_max: int | str = 200_000

    @property
    def behind(self) -> Behind:
        """How much streams hold for readers within, where they do not say otherwise."""
        return behind_of(self.behind_max, "flowd")

    @property
    def addresses(self) -> list[str]:
        """Where to listen, one or several."""
        return [self.listen] if isinstance(self.listen, str) else self.listen

    @property
    def rules(self) -> Rules:
        """Which web pages may do more than read."""
        return Rules.of(self.allow_origins, self.allow_hosts)

    @property
    def limits(self) -> Limits:
        """What clients may take."""
        return Limits(
            max_clients=self.max_clients,
            max_clients_per_address=self.max_clients_per_address,
            max_connections_per_address=self.max_connections_per_address,
            max_requests_per_s=self.max_requests_per_second,
            trusted_proxies=frozenset(self.trusted_proxies),
            slow_consumer_timeout_s=self.slow_consumer_timeout,
            slow_consumer_limit_s=self.slow_consumer_limit,
            heartbeat_s=self.heartbeat,
            memory_budget=self.memory_budget,
        )


@frozen
class Common:
    """The keys that every component has, whatever its kind."""

    retain: int | str | None = None
    behind_max: int | str | None = None
    restart: Literal["always", "on-failure", "never"] = "always"
    restart_delay: Seconds = Seconds(5.0)
    restart_delay_max: Seconds = Seconds(60.0)
    restart_limit: int | None = None
    restart_window: Seconds = Seconds(600.0)
    on_error: Literal["stop", "skip"] = "stop"
    read_token: Secret | None = None


@frozen
class Component:
    """One configured component: its name, its kind's definition, and the plugin's own settings."""

    table: str
    name: str
    kind: str
    definition: Any
    settings: Any
    retain: Retain
    restart: Restart
    behind: Behind | None = None
    skips: bool = False
    """Whether it goes on without a record that fails it every time."""
    read_token: Secret | None = None

    @property
    def where(self) -> str:
        """How the configuration calls it, `sources.force-orders`."""
        return f"{self.table}.{self.name}"


@frozen
class Config:
    """The whole configuration, checked key by key; that the components fit together is `wiring`'s
    to check.
    """

    settings: Settings
    components: list[Component]
    given: Mapping[str, Used] = field(factory=dict)
    """Which variables of the environment are in which keys."""
    tokens: Mapping[str, Secret] = field(factory=dict)  # Of single streams of other daemons.
    pair: Paired | None = None
    """Where a second daemon meets this one; None where there is none."""

    def of(self, table: str) -> list[Component]:
        """The components of one table, in the file's order."""
        return [component for component in self.components if component.table == table]


def disabled(file: Path | str) -> frozenset[str]:
    """The plugins that a file or its text disables, and nothing of what is wrong with the rest."""
    try:
        text = file if isinstance(file, str) else file.read_text("utf-8")
        read = document(text, os.environ, Mistakes())
        settings = as_table(read.tables["flowd"], "flowd")
        return frozenset(structure(settings["plugins"], Plugins, "flowd.plugins").disable)
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return frozenset()


@frozen
class Draft:
    """A configuration of which something may be wrong: the components that are right, what is wrong
    in sentences, and the names of components that were written and are not right.
    """

    config: Config
    mistakes: list[str]
    broken: frozenset[str]


def parse(text: str, registry: Registry) -> Config:
    """The configuration that a TOML text writes; UserError that names each key that is wrong and a
    remedy.
    """
    found = draft(text, registry)
    if found.mistakes:
        raise UserError(*found.mistakes)
    return found.config


def draft(text: str, registry: Registry) -> Draft:
    """As much of a configuration as can be read, and all that is wrong with the rest."""
    mistakes = Mistakes()
    read = document(text, os.environ, mistakes)
    settings = Settings()
    with mistakes.noted():
        known_keys(read.tables, ("flowd", PAIR, *TABLES), "")
    with mistakes.noted():
        settings = structure(read.tables.get("flowd", {}), Settings, "flowd")
        _check(settings)
    components: list[Component] = []
    named: set[str] = set()
    for table in TABLES:
        with mistakes.noted():
            for name, content in as_table(read.tables.get(table, {}), table).items():
                named.add(name)
                with mistakes.noted():
                    components.append(_component(table, name, content, registry))
    with mistakes.noted():
        _unique(components)
    pair: Paired | None = None
    with mistakes.noted():
        pair = paired(read.tables, registry)
    broken = named - {component.name for component in components}
    found = [read.names(mistake) for mistake in mistakes.found]
    return Draft(Config(settings, components, read.used, pair=pair), found, frozenset(broken))


def _component(table: str, name: str, content: object, registry: Registry) -> Component:
    where = f"{table}.{name}"
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise UserError(f'[{table}."{name}"]: a name is made of letters, digits, "-", "_" and "."')
    if name in RESERVED and table != "sinks":
        raise UserError(f"[{where}]: flowd has a stream of this name itself; choose another")
    keys = dict(as_table(content, where))
    kind = keys.pop("kind", None)
    if not isinstance(kind, str):
        raise UserError(f'[{where}]: needs kind = "…"; `flowd plugins` lists the kinds there are')
    kind = str(kind)
    definition = registry.kind(table, kind, where)
    own = {attribute.name for attribute in attrs.fields(definition.config)}
    common_names = {attribute.name for attribute in attrs.fields(Common)} - own
    shared = {key: keys.pop(key) for key in list(keys) if key in common_names}
    common = Common()
    settings: Any = None
    mistakes = Mistakes()
    with mistakes.noted():
        common = structure(shared, Common, where)
        _check_common(common, table, where, definition, shared)
    retain, behind = Retain(), None
    with mistakes.noted():
        retain = retain_of(common.retain, where, getattr(definition, "retain", 5000))
    with mistakes.noted():
        behind = None if common.behind_max is None else behind_of(common.behind_max, where)
    with mistakes.noted():
        settings = structure(keys, definition.config, where, also=common_names)
    mistakes.tell()
    limit = common.restart_limit
    if limit is None and table != "sources":
        limit = 10
    restart = Restart(
        policy=common.restart,
        delay_s=common.restart_delay,
        delay_max_s=max(common.restart_delay, common.restart_delay_max),
        limit=limit,
        window_s=common.restart_window,
    )
    return Component(
        table,
        name,
        kind,
        definition,
        settings,
        retain,
        restart,
        behind,
        common.on_error == "skip",
        common.read_token,
    )


def _check_common(
    common: Common, table: str, where: str, definition: Any, written: Mapping[str, object]
) -> None:
    if table == "sinks" and common.read_token is not None:
        raise UserError(
            f"{where}.read_token: a sink has no stream that it could protect; set read_token for "
            "the source or transform whose stream it is, or flowd.read_token for all"
        )
    limit = common.restart_limit
    if limit is not None and not 0 <= limit <= LIMIT_MAX:
        raise UserError(f"{where}.restart_limit = {limit}: expected a number from 0 to {LIMIT_MAX}")
    if common.restart_delay < DELAY_MIN_S:
        raise UserError(
            f"{where}.restart_delay: expected at least {DELAY_MIN_S:g}s, "
            "or a component that fails at once would keep the daemon busy"
        )
    if "on_error" in written and (table == "sources" or definition.run is None):
        raise UserError(
            f"[{where}]: on_error is about a record that is read one after the other, "
            "by a transform or by a sink that has a task; leave it out here"
        )


def _check(settings: Settings) -> None:
    mistakes = Mistakes()
    with mistakes.noted():
        behind_of(settings.behind_max, "flowd")
    if not settings.addresses:
        mistakes.found.append('flowd.listen = []: expected at least one address, "127.0.0.1:4200"')
    for address in settings.addresses:
        with mistakes.noted():
            parse_address(address)
    for key in COUNTS:
        value = getattr(settings, key)
        if value is not None and value < 1:
            mistakes.found.append(f"flowd.{key} = {value}: expected a number from 1 up")
    if settings.log_dir_max < LOG_MIN:
        mistakes.found.append('flowd.log_dir_max: expected at least "64KiB"')
    if settings.memory_budget < MEMORY_MIN:
        mistakes.found.append('flowd.memory_budget: expected at least "16MiB"')
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_address(proxy)
        except ValueError:
            mistakes.found.append(f'flowd.trusted_proxies: "{proxy}" is not an IP address')
    with mistakes.noted():
        Rules.of(settings.allow_origins, settings.allow_hosts)
    for key in ("save_every", "heartbeat", "slow_consumer_limit"):
        if getattr(settings, key) < 0.05:
            mistakes.found.append(f"flowd.{key}: expected at least 50ms")
    mistakes.tell()


def parse_address(address: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port` or `unix:/path` (port 0 there); UserError for anything else."""
    if address.startswith("unix:") and len(address) > 5:
        return address, 0
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UserError(
            f'flowd.listen = "{address}": expected "host:port" such as "127.0.0.1:4200", '
            'or "unix:/run/flowd.sock"'
        )
    return host or "0.0.0.0", int(port)


def log_dir(settings: Settings) -> Path | None:
    """The folder of log files, if there is to be one: a relative path lies in systemd's log
    directory, if there is one, else right here.
    """
    if settings.log_dir is None:
        return None
    return Path(os.environ.get("LOGS_DIRECTORY", "").split(":")[0]) / settings.log_dir


def state_path(settings: Settings) -> Path:
    """The state file: a relative path lies in systemd's state directory, if there is one, else
    right here.
    """
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0]) / settings.state


def _unique(components: list[Component]) -> None:
    """A source's or transform's name is its stream's name, and sinks share the names of
    components.
    """
    seen: dict[str, str] = {}
    mistakes = Mistakes()
    for component in components:
        if component.name in seen:
            mistakes.found.append(
                f"[{component.where}]: {seen[component.name]} has the same name; "
                "components and their streams go by name, so choose another"
            )
        seen.setdefault(component.name, component.where)
    mistakes.tell()
