"""The exchanges, played on loopback with their real protocols: for demonstrations and for tests."""

from collections.abc import Iterable

import typer

from flowd.plugin import hookimpl


@hookimpl
def flowd_commands() -> Iterable[typer.Typer]:
    """`flowd simulate`."""
    from flowd_simulator.command import simulate  # Late: only who asks for commands needs it.

    app = typer.Typer()
    app.command()(simulate)
    return [app]
