"""A flowd sink: streams in a file or a database, for range queries long after the streams have
forgotten.

Writing happens in batches in one thread, reading in others; the loop does neither.
"""

import os
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import trio
import typer
from attrs import frozen
from quart import Blueprint, Response, request

from flowd.history import Archive, Away, Settings, Store, database
from flowd.plugin import (
    BadRequest,
    Desk,
    Input,
    Seconds,
    Secret,
    Sink,
    Size,
    StreamName,
    Streams,
    hookimpl,
    seconds,
)
from flowd_history import query
from flowd_history.query import File
from flowd_history.recorder import Pace, Recorder
from flowd_history.store import Store as FileStore

FOR_EVER = "forever"
EVERY_MAX_S = 1.0
"""A longer pause could miss the end: the daemon waits two seconds for its sinks."""
BATCH_MAX = 100_000
SIZE_MIN = 1024 * 1024
LOOK_S = 5.0
"""How often who only answers queries looks whether it could."""
QUERIES_MAX = 4
"""Queries that are answered at the same time; further ones wait."""


@frozen
class Config:
    """`inputs` are the streams to keep, in the file `path` or in a `database`: at most as long as
    `retain`, an age or `"forever"`, and at most `max_size`; the oldest goes first. What a database
    that is away does not take waits in the file `spill`, which has at most `spill_max`. Without
    `record` another daemon writes, and this one answers queries.

    Up to `batch` records are written at once, `every` so often. Of a table (a stream with keys)
    the file has the `latest` record of each key, or all `versions` that were seen. `unique` is the
    field by which an event is known when it is delivered again after a crash; "" for none.
    """

    inputs: list[StreamName]
    path: str = "history.db"
    database: str | Secret | None = None
    spill: str = "history.spill"
    spill_max: Size = Size(1024**3)
    retain: str | int = "90d"
    max_size: Size = Size(1024**3)
    every: Seconds = Seconds(0.1)
    batch: int = 2000
    tables: Literal["latest", "versions"] = "latest"
    unique: str = "id"
    record: bool = True

    def __attrs_post_init__(self) -> None:
        # It brings NumPy where there is one: only who configures a history pays for that, and
        # before the loop turns.
        if self.database is None:
            import_module("sqlite_utils")
        elif isinstance(self.database, str):
            database(self.database).check(self.database)
        if not self.inputs:
            raise ValueError("inputs = []: name at least one stream")
        if not self.path:
            raise ValueError('path = "": name a file, such as "history.db"')
        if self.retain_ms is not None and self.retain_ms < 1000:
            raise ValueError(f"retain = {self.retain!r}: expected at least a second")
        if not self.spill or self.spill_max < SIZE_MIN:
            raise ValueError("spill: name a file; and give it a spill_max of at least 1MiB")
        if self.max_size < SIZE_MIN:
            raise ValueError(f"max_size = {self.max_size}: expected at least 1MiB")
        if self.every > EVERY_MAX_S:
            raise ValueError(f"every = {self.every:g}: expected at most {EVERY_MAX_S:g}s")
        if not 1 <= self.batch <= BATCH_MAX:
            raise ValueError(f"batch = {self.batch}: expected a number from 1 to {BATCH_MAX}")
        if self.unique and not self.unique.isidentifier():
            raise ValueError(f'unique = "{self.unique}": expected the name of a field, or ""')

    @property
    def retain_ms(self) -> int | None:
        """The age at which records go; None for never."""
        if self.retain == FOR_EVER:
            return None
        # A plain number would be seconds here and records everywhere else.
        if isinstance(self.retain, int):
            raise ValueError(
                f'retain = {self.retain}: a history keeps by age, such as "90d", or "forever"; '
                "its size is limited by max_size"
            )
        return round(seconds(self.retain) * 1000)

    @property
    def file(self) -> Path:
        """Where the file is: like flowd's state, in systemd's state directory if there is one."""
        return state_directory() / self.path

    @property
    def address(self) -> str | None:
        """The database's; None for a file."""
        return self.database.reveal() if isinstance(self.database, Secret) else self.database

    def store(self) -> Store:
        """Where is written. UserError when no plugin knows such a database."""
        versions = self.tables == "versions"
        if self.address is None:
            return FileStore(self.file, versions=versions, unique=self.unique)
        spill = state_directory() / self.spill
        settings = Settings(versions, self.unique, spill, self.spill_max)
        return database(self.address).store(self.address, settings)

    def archive(self) -> Archive:
        """Where is read. UserError as above."""
        if self.address is None:
            return File(self.file)
        return database(self.address).archive(self.address)


def state_directory() -> Path:
    """What relative paths begin in: systemd's state directory if there is one, else right here."""
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0])


async def keep(config: Config, streams: Streams, desk: Desk) -> None:
    """Write the inputs to the file or database until they end."""
    if not config.record:
        async with trio.open_nursery() as watching:
            watching.start_soon(_watch, config.archive(), desk)
            async with trio.open_nursery() as nursery:
                for name in config.inputs:
                    nursery.start_soon(_pass_by, streams[name])
            watching.cancel_scope.cancel()
        return
    await Recorder(
        config.store(),
        config.inputs,
        streams,
        desk,
        retain_ms=config.retain_ms,
        max_size=config.max_size,
        pace=Pace(config.every, config.batch),
    ).run()


async def _watch(archive: Archive, desk: Desk) -> None:
    """Say whether what another daemon writes can be read."""
    while True:
        try:
            await trio.to_thread.run_sync(_look, archive, abandon_on_cancel=True)
        except Away as error:
            desk.problem(f"{archive.where} cannot be read: {error}")
        else:
            desk.problem(None)
        await trio.sleep(LOOK_S)


def _look(archive: Archive) -> None:
    with archive.reading() as reading:
        reading.kept()


async def _pass_by(input: Input[Any]) -> None:
    """Read and leave it, so that nothing is held for who once wrote it."""
    async for _ in input.cursor():
        pass


def routes(config: Config, streams: Streams) -> Blueprint:
    """`GET /streams/NAME/history`. Knows nothing of the writer: both know the store."""
    # Several histories have a file and inputs each, so a blueprint is named for its configuration.
    blueprint = Blueprint(f"history_{id(config):x}", __name__)
    limiter = trio.CapacityLimiter(QUERIES_MAX)
    archive = config.archive()

    async def history(name: str) -> Response:
        if name not in config.inputs:
            raise BadRequest(
                f"there is no history of {name!r:.60}",
                parameter="stream",
                value=name,
                allowed=list(dict.fromkeys(config.inputs)),
                code="UNKNOWN_STREAM",
                status=404,
            )
        wanted = query.parse(name, streams[name].record, request.args.to_dict())
        ask = partial(query.answer, archive, wanted)
        try:
            # A client who leaves does not wait for the end of what was read for it.
            body = await trio.to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True)
        except Away as error:
            raise BadRequest(
                f"the history cannot be read at the moment: {error}",
                parameter="stream",
                value=name,
                allowed="the same again later; flowd's log may say more",
                code="UNAVAILABLE",
                status=503,
            ) from None
        return Response(body, content_type="application/json")

    for number, name in enumerate(dict.fromkeys(config.inputs)):
        blueprint.add_url_rule(
            f"/streams/{name}/history", f"history_{number}", partial(history, name)
        )
    blueprint.add_url_rule("/streams/<name>/history", "history", history)
    return blueprint


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `history`."""
    return [Sink("history", Config, run=keep, routes=routes)]


@hookimpl
def flowd_commands() -> Iterable[typer.Typer]:
    """`flowd export` and `flowd import`."""
    from flowd_history.command import export  # Late: only who uses them needs them.
    from flowd_history.importing import import_history

    exports, imports = typer.Typer(), typer.Typer()
    exports.command()(export)
    imports.command("import")(import_history)
    return [exports, imports]
