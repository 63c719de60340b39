"""The command line: run, status, check, plugins, tail, init, and what plugins add."""

import gc
import logging
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import quote

import typer

from flowd import __version__

if TYPE_CHECKING:
    from flowd.operate.watchdog import Watchdog
    from flowd.setup.registry import Registry

# Each command imports what it needs itself: `status` no web server, and `run`, unless it has
# something to say, nothing of what draws tables.

HEALTHY, DEGRADED, CANNOT, ABSENT = 0, 1, 2, 3
DEFAULT_URL = "http://127.0.0.1:4200"

app = typer.Typer(
    name="flowd",
    help=(
        "Keeps one connection to each exchange, remembers the recent past, "
        "and serves any number of readers."
    ),
    epilog="Begin with `flowd init`, then `flowd check` and `flowd run`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration, a TOML file.", show_default=True)
]
PluginsDir = Annotated[
    Path | None, typer.Option("--plugins-dir", help="A directory with plugins of your own (*.py).")
]
Url = Annotated[
    str, typer.Option("--url", "-u", envvar="FLOWD_URL", help="Where the daemon listens.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from flowd.operate.terminal import out

        out.print(f"flowd {__version__}")
        raise typer.Exit


@app.callback()
def flowd(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps one connection to each exchange, remembers the recent past, and serves any number of
    readers.
    """


@app.command()
def run(
    file: ConfigFile = Path("flowd.toml"),
    plugins_dir: PluginsDir = None,
    edges: Annotated[
        int | None,
        typer.Option("--edges", help="Serve with so many processes, each on a core of its own."),
    ] = None,
    process: Annotated[
        str | None,
        typer.Option("--process", hidden=True, help="For the parent of several processes."),
    ] = None,
) -> None:
    """Run the daemon in the foreground; logs go to standard error.

    SIGTERM, SIGHUP or Ctrl-C ends it in order, saved and with a goodbye to all clients. Exits 0
    when stopped, 1 when its state could not be saved then, 2 when it cannot start.
    """
    from flowd.operate import log
    from flowd.operate.watchdog import Watchdog

    log.configure(process=process or "")
    with Watchdog() as watchdog:
        if not _run(file, plugins_dir, edges, watchdog, among_others=process is not None):
            raise typer.Exit(DEGRADED)


def _run(
    file: Path,
    plugins_dir: Path | None,
    edges: int | None,
    watchdog: "Watchdog",
    *,
    among_others: bool,
) -> bool:
    """Whether what is to survive was saved at the end."""
    from flowd import running
    from flowd.parent import CannotStart
    from flowd.values.errors import UserError, unwrap

    try:
        if among_others:
            first = running.told()
            found = None if first is None else _registry(first.text, plugins_dir)
            told = running.told()
            if found is None or told is None:
                return True  # Nothing has begun.
            return running.share(told, found, watchdog)
        command = [*_ourselves(), "run", "-c", str(file)]
        command += [] if plugins_dir is None else ["--plugins-dir", str(plugins_dir)]
        found = _registry(file, plugins_dir)
        return running.run(file, found, watchdog, [*command, "--process"], edges)
    except (UserError, CannotStart, BaseExceptionGroup) as error:
        cause = unwrap(error)
    if isinstance(cause, UserError):
        _fail(str(cause))
    if isinstance(cause, CannotStart):
        _fail(f"{cause} cannot start")
    raise cause


def _ourselves() -> list[str]:
    """What runs this program again; a folder with a module of our name must not."""
    frozen = getattr(sys, "frozen", False)
    return [sys.executable] if frozen else [sys.executable, "-P", "-m", "flowd.cli"]


@app.command()
def check(
    file: ConfigFile = Path("flowd.toml"),
    plugins_dir: PluginsDir = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the exchanges too, over the network.")
    ] = False,
) -> None:
    """Check a configuration and show what would run; start nothing. Exits 0, or 2 with all that is
    wrong.
    """
    from flowd.operate import checked
    from flowd.values.errors import UserError

    try:
        checked.check(file, _registry(file, plugins_dir), probe=probe)
    except UserError as error:
        _fail(str(error))


@app.command()
def plugins(file: ConfigFile = Path("flowd.toml"), plugins_dir: PluginsDir = None) -> None:
    """List the plugins that were found, where from, which kinds they bring, and what failed. Of the
    configuration, if there is one, only `flowd.plugins` counts.
    """
    from flowd.operate import terminal
    from flowd.operate.terminal import escape, out

    table = terminal.table("plugin", "from", "brings")
    listed = _registry(file, plugins_dir, quiet=True).found
    for found in listed:
        brings = ", ".join(found.kinds + ["commands"] * bool(found.commands))
        word = "[red]failed[/]" if found.error else "[yellow]disabled[/]" * found.disabled or "-"
        table.add_row(found.name, found.origin, brings or word)
    out.print(table)
    for found in listed:
        if found.error:
            out.print(f"[red]{escape(found.name)}[/]: {escape(found.error)}", soft_wrap=True)


@app.command()
def status(
    url: Url = DEFAULT_URL,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second.")] = False,
) -> None:
    """Ask a running daemon how it is. Exits 0 when healthy, 1 when degraded, 3 when it is not
    there. What is watched in a terminal is the operator's dashboard; a pipe gets a line a second.
    """
    from flowd.operate import ask, terminal
    from flowd.operate.terminal import escape, out, say

    _is_address(url)
    try:
        found = ask.watch(url) if watch and not json else ask.status(url)
    except ask.Absent as error:
        say(f"flowd is not answering at {escape(url)}: {escape(str(error))}")
        raise typer.Exit(ABSENT) from None
    if json:
        from flowd.values import codec

        sys.stdout.write(codec.encode(found).decode() + "\n")
    elif not watch:
        out.print(terminal.status(found))
    raise typer.Exit(HEALTHY if found["healthy"] else DEGRADED)


def _is_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        _fail(f'--url {url}: expected an address such as "{DEFAULT_URL}"')


@app.command()
def tail(
    stream: Annotated[str, typer.Argument(help="The stream's name, such as force-orders.")],
    url: Url = DEFAULT_URL,
    after: Annotated[
        str | None, typer.Option(help="A position: go on from there, gaps are marked.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="Begin with the newest N.")
    ] = 10,
    where: Annotated[
        list[str] | None, typer.Option("--filter", "-f", help="Such as symbol=BTCUSDT.")
    ] = None,
) -> None:
    """Follow a stream in the terminal, one JSON record per line; gaps and resets are marked on
    standard error. A stream that is read with a token: FLOWD_READ_TOKEN.
    """
    import trio

    from flowd.operate.follow import follow
    from flowd.operate.terminal import escape, say
    from flowd.values.errors import unwrap
    from flowd.values.record import Position

    _is_address(url)
    query = [f"streams={quote(stream, safe='')}"]
    if after is not None:
        try:
            query.append(f"after={Position.parse(after)}")
        except ValueError as error:
            _fail(f"--after: {error}")
    else:
        query.append(f"limit={limit}")
    for pair in where or []:
        name, equals, value = pair.partition("=")
        if not equals:
            _fail(f"--filter {pair}: expected NAME=VALUE")
        query.append(f"{quote(name, safe='')}={quote(value, safe='')}")
    base = url.rstrip("/").replace("http", "ws", 1)
    logging.disable()
    accepted = True
    try:
        accepted = trio.run(follow, f"{base}/ws?{'&'.join(query)}")
    except* KeyboardInterrupt:
        pass
    except* BrokenPipeError:
        # Whoever read our output has enough. Python would complain again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except* Exception as group:
        say(f"flowd at {escape(url)}: {escape(str(unwrap(group)))}")
        raise typer.Exit(ABSENT) from None
    if not accepted:
        raise typer.Exit(CANNOT)


@app.command()
def logs(
    component: Annotated[str, typer.Argument(help="Its name; `flowd` for the daemon itself.")],
    file: ConfigFile = Path("flowd.toml"),
    unit: Annotated[str, typer.Option("--unit", help="The unit of systemd.")] = "flowd",
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Begin with the newest N.")
    ] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what one component said: from `flowd.log_dir`, else from systemd's journal. Exits 2
    where there is neither.
    """
    from flowd.operate.logs import show
    from flowd.values.errors import UserError

    try:
        show(component, file, unit=unit, lines=lines, follow=follow)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("flowd.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write a configuration to begin with, each line explained."""
    from flowd.operate.terminal import escape, naming, out

    if file.exists() and not force:
        _fail(f"{file} exists; give another name, or --force to overwrite it")
    here = Path(__file__).parent
    # In the package once it is installed; in a checkout, beside it.
    packed, loose = (folder / "flowd.toml.example" for folder in (here, here.parent))
    text = (packed if packed.exists() else loose).read_text(encoding="utf-8")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"{file} cannot be written: {error.strerror}")
    name, with_it = escape(str(file)), naming(file)
    out.print(f"Wrote {name}. Next: flowd check{with_it}, then flowd run{with_it}", soft_wrap=True)


def _registry(
    file: Path | str, plugins_dir: Path | None = None, *, quiet: bool = False
) -> "Registry":
    from flowd.setup import config, registry
    from flowd.values.errors import UserError

    disable = config.disabled(file)
    try:
        return registry.load(plugins_dir, disable=disable, taken=_own_commands(), quiet=quiet)
    except UserError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    from flowd.operate.terminal import escape, say

    say(f"[red]error:[/] {escape(message)}")
    raise typer.Exit(CANNOT)


def main() -> None:
    """The `flowd` command, with what plugins add to it."""
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        gc.disable()  # What is imported stays; the daemon has it looked for once it serves.
        from flowd.operate.watchdog import ENDING

        # Nothing has begun that would have to end in order; `run` hears signals in another way.
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: os._exit(HEALTHY))
    plain = _plain(words)
    if plain is not None:
        try:
            run(**plain) if words[0] == "run" else check(**plain)
        except typer.Exit as end:
            sys.exit(end.exit_code)
        return
    if not words or words[0] not in _own_commands():
        # Quiet: the commands that need plugins say what is wrong with one.
        for extra in _registry(_config_named(words), quiet=True).commands:
            app.add_typer(extra)
    app()


def _plain(words: list[str]) -> dict[str, Any] | None:
    """What `run` or `check` is told, where it is told the usual in the usual words; None for all
    else, and for what is wrong, which is Typer's. Typer checks each word with pydantic, and that
    takes a fifth of the time until a daemon serves.
    """
    if words[:1] not in (["run"], ["check"]) or len(words) % 2 == 0:
        return None
    names = {"-c": "file", "--config": "file", "--plugins-dir": "plugins_dir"}
    if words[0] == "run":
        names["--process"] = "process"
    pairs = list(zip(words[1::2], words[2::2], strict=True))
    if any(name not in names or value[:1] in ("", "-") for name, value in pairs):
        return None
    told: dict[str, Any] = {"file": Path("flowd.toml"), "plugins_dir": None}
    for name, value in pairs:
        told[names[name]] = value if name == "--process" else Path(value)
    return told


@cache
def _own_commands() -> frozenset[str]:
    """What no plugin's command may be called. Asked before any of them is added."""
    return frozenset(typer.main.get_group(app).commands)


def _config_named(arguments: list[str]) -> Path:
    """The configuration that a command line names: it says which plugins are left alone, and so is
    read before there is a parser, which plugins add to.
    """
    for index, argument in enumerate(arguments):
        if argument in ("-c", "--config") and index + 1 < len(arguments):
            return Path(arguments[index + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
        if argument.startswith("-c"):
            return Path(argument.removeprefix("-c"))
    return Path("flowd.toml")


if __name__ == "__main__":
    main()
