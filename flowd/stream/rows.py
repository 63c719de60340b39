"""The tables of a state file, and how what was saved and journaled lies in them."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve

from flowd.stream.cut import Cut
from flowd.stream.frames import Frame
from flowd.stream.seen import SEEN_MAX
from flowd.stream.snapshot import cuts_of
from flowd.values.errors import UserError
from flowd.values.record import Record

SCHEMA = 2


def create(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, where they are not there; UserError for those of a newer flowd."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise UserError(
            f"flowd.state: {path} was written by a newer flowd (format {version}, this "
            f"one knows {SCHEMA}); install that one, or move the file away"
        )
    if version == SCHEMA:
        return
    # Late: it is a twentieth of a start, with the NumPy that it loads where there is one a
    # sixth, and a file is made once.
    from sqlite_utils import Database

    made = Database(db, execute_plugins=False)
    with made.atomic():
        made.table("meta").create({"name": str, "value": int}, pk="name", if_not_exists=True)
        made.table("streams").create(
            {"name": str, "epoch": str, "seq": int, "floor": int}, pk="name", if_not_exists=True
        )
        # A slot is a table's key, or a history's seq: what supersedes a record overwrites its
        # row.
        made.table("records").create(
            {
                "stream": str,
                "slot": str,
                "seq": int,
                "time_ms": int,
                "key": str,
                "json": bytes,
            },
            pk=("stream", "slot"),
            if_not_exists=True,
        )
        if version < 2:
            # What was saved before has neither, and is not checked.
            made.table("streams").add_column("length", int)
            made.table("records").add_column("crc", int)
        made.table("records").create_index(["stream", "seq"], if_not_exists=True)
        made.table("seen").create(
            {"stream": str, "n": int, "id": str}, pk=("stream", "n"), if_not_exists=True
        )
        made.table("places").create(
            {"component": str, "stream": str, "seq": int},
            pk=("component", "stream"),
            if_not_exists=True,
        )
        db.execute(f"PRAGMA user_version = {SCHEMA}")


@contextmanager
def whole(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block in one transaction, or nothing of it."""
    db.execute("BEGIN")
    with db:
        yield


def facts(db: sqlite3.Connection) -> dict[str, Any]:
    """What is noted of the file as a whole; nothing of a file that was never saved to."""
    return dict(db.execute("SELECT name, value FROM meta"))


def note(db: sqlite3.Connection, **facts: int | str) -> None:
    """Note these of it."""
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(facts.items()))


def replay(db: sqlite3.Connection, frames: Iterable[Frame]) -> None:
    """Save what frames of a journal have, as if a save had come after the last one."""
    execute = db.execute
    heads = {
        name: (floor, 0 if newest_id is None else newest_id + 1)
        for name, floor, newest_id in execute(
            "SELECT name, floor, (SELECT MAX(n) FROM seen WHERE stream = name) FROM streams"
        )
    }
    cuts, places = cuts_of(frames, heads)
    for cut in cuts:
        head = "SELECT seq, floor, epoch FROM streams WHERE name = ?"
        before = None if cut.whole else execute(head, [cut.stream]).fetchone()
        cut = evolve(cut, seq=max(cut.seq, before[0] if before else 0))
        if before == (cut.seq, cut.floor, cut.epoch) and not any(
            (cut.records, cut.forgotten, cut.seen)
        ):
            continue  # Said again where a segment begins.
        save_stream(db, cut)
        if cut.whole:
            execute("DELETE FROM places WHERE stream = ? OR stream GLOB ?", _places(cut.stream))
        execute(
            "UPDATE streams SET length = (SELECT COUNT(*) FROM records WHERE stream = name) "
            "WHERE name = ?",
            [cut.stream],
        )
    db.executemany(
        "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
        [(component, stream, seq) for (component, stream), seq in places.items()],
    )


def save_stream(db: sqlite3.Connection, cut: Cut) -> None:
    """Save what is new in a stream."""
    name = cut.stream
    if cut.whole:
        for table in ("records", "seen"):
            db.execute(f"DELETE FROM {table} WHERE stream = ?", [name])
    db.execute(
        "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
        [name, cut.epoch, cut.seq, cut.floor, cut.length],
    )
    db.executemany(
        "DELETE FROM records WHERE stream = ? AND slot = ?",
        [(name, f"k{key}") for key in cut.forgotten],
    )
    db.executemany(
        "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (name, _slot(r), r.seq, r.time_ms, r.key, r.json, zlib.crc32(r.json))
            for r in cut.records
        ),
    )
    db.execute("DELETE FROM records WHERE stream = ? AND seq <= ?", [name, cut.floor])
    first = cut.seen_total - len(cut.seen)
    db.executemany(
        "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
        [(name, first + index, id) for index, id in enumerate(cut.seen)],
    )
    db.execute("DELETE FROM seen WHERE stream = ? AND n < ?", [name, cut.seen_total - SEEN_MAX])


def _places(stream: str) -> list[str]:
    """All places in a stream: names have no character that means something to GLOB."""
    return [stream, f"{stream}#*"]


def _slot(record: Record[Any]) -> str:
    return f"s{record.seq}" if record.key is None else f"k{record.key}"
