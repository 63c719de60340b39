"""What `flowd check` shows of a configuration: what would run, and what is wrong."""

from pathlib import Path

import trio

from flowd.operate import terminal
from flowd.operate.terminal import escape, naming, out
from flowd.setup import checks, config, remarks, shares
from flowd.setup.carried import carries
from flowd.setup.config import Config
from flowd.setup.registry import Registry
from flowd.setup.wiring import Plan
from flowd.upstream.http import Services
from flowd.values.clock import system_clock
from flowd.values.environment import Used
from flowd.values.errors import Mistakes, UserError

SOCKET = Path(f"/run/flowd/{shares.SERVER}.sock")
"""Where a server between processes would listen: some such path, at which nobody looks."""


def check(file: Path, registry: Registry, *, probe: bool) -> None:
    """Show what would run; UserError with all that is wrong. `probe` asks upstreams, too."""
    found = checks.look(file, registry)
    mistakes, wrong = list(found.mistakes), Mistakes()
    if found.config.components or not mistakes:
        mistakes += checks.lacks(found.config)
    if probe:
        mistakes += trio.run(_probe, found.config)
    plan, carriers = found.plan, [part for part in found.config.of("sources") if carries(part)]
    if probe and carriers and not mistakes:
        with wrong.noted():
            plan = trio.run(checks.whole, found.config, registry)
        mistakes += wrong.found
    if (edges := found.config.settings.edges) is not None and not mistakes:
        with wrong.noted():
            shares.joint(found.config, registry, edges, SOCKET)
        mistakes += wrong.found
    if mistakes or plan is None:
        raise UserError(checks.told(file, mistakes))
    _show(found.config, plan)
    if carriers and not probe:
        names = ", ".join(part.where for part in carriers)
        ask = f"{names}: which streams there are is known when they are asked: flowd check --probe"
        out.print(f"[yellow]note:[/] {escape(ask)}", soft_wrap=True)
    name = escape(str(file))
    out.print(f"[green]{name} is good.[/] Start it with: flowd run{naming(file)}", soft_wrap=True)


async def _probe(loaded: Config) -> list[str]:
    services = Services(system_clock)
    try:
        return await checks.probe(loaded, services)
    finally:
        await services.aclose()


def _show(loaded: Config, plan: Plan) -> None:
    table = terminal.table("component", "kind", "publishes", "keeps", whole=2)
    for part in plan.order:
        if part.table == "sinks":
            table.add_row(part.where, part.kind, "-", "-")
        elif carries(part):
            has = ", ".join(n for n in plan.carried if plan.writers[n] == part.name)
            table.add_row(part.where, part.kind, has or "what another daemon has", "-")
        else:
            keeps = terminal.retained(part.retain.count, part.retain.age_s)
            table.add_row(part.where, part.kind, plan.records[part.name].__name__, keeps)
    out.print(table)
    out.print()
    for part in plan.order:
        if reads := plan.inputs[part.name]:
            out.print(f"{part.where} reads {', '.join(reads)}", soft_wrap=True, markup=False)
    listen, state = ", ".join(loaded.settings.addresses), config.state_path(loaded.settings)
    out.print(f"\nlistens on {listen}; keeps its state in {state}", soft_wrap=True, markup=False)
    if loaded.settings.edges is not None:
        out.print(f"serves with edges = {loaded.settings.edges}", markup=False)
    for name, left_out in plan.left_out.items():
        for why in left_out.values():
            out.print(f"[yellow]note:[/] sources.{name}: left out: {escape(why)}", soft_wrap=True)
    for where, variables in sorted(loaded.given.items()):
        for line in _given(where, variables):
            out.print(line, soft_wrap=True, markup=False)
    addresses = [config.parse_address(address) for address in loaded.settings.addresses]
    for remark in remarks.remarks(loaded, addresses):
        out.print(f"[yellow]note:[/] {escape(remark)}", soft_wrap=True)


def _given(where: str, variables: Used) -> list[str]:
    """Which variables a key is from, and which ones it would be from if they were there."""
    names = [name for name, lacks in variables.items() if lacks is None]
    lines = [f"{where} is from {', '.join(names)}"] if names else []
    return lines + [
        f"{where} has the default that the file gives, since {name} {lacks}; "
        f"set {name} where it is to be another"
        for name, lacks in variables.items()
        if lacks is not None
    ]
