"""What the file forgets, by age and by size: one small step at a time, so that writing goes on
between them.

VACUUM policy: the file is made with `auto_vacuum = INCREMENTAL`. Pages that become free are reused
by the next rows; those beyond a tenth of the file are given back to the system, a few at a time. A
full VACUUM, which would rewrite the file and need as much room again, never runs.
"""

from typing import TYPE_CHECKING

from flowd_history.sql import GAPS, STREAMS, quoted

if TYPE_CHECKING:
    from flowd_history.store import Store

STEP_ROWS = 2000
STEP_PAGES = 256
SPARE_PAGES = 256
"""Free pages, about 1 MiB, that a small file keeps too."""


def tidy(store: "Store", retain_ms: int | None, max_size: int) -> bool:
    """One step; whether there is more to do.

    Age is measured from the newest record in the file, so that a flowd that was off for a month
    does not come back to an empty history.
    """
    more = retain_ms is not None and _by_age(store, retain_ms)
    more = _by_size(store, max_size) or more
    return _give_back(store) or more


def _tables(store: "Store") -> list[str]:
    """All streams in the file, also those that are no input any more."""
    return [name for (name,) in store.db.conn.execute(f"SELECT name FROM {quoted(STREAMS)}")]


def _end(store: "Store", name: str, order: str) -> int | None:
    """When the oldest (`ASC`) or newest (`DESC`) row was recorded."""
    found = store.db.conn.execute(
        f"SELECT recorded_ms FROM {quoted(name)} ORDER BY row {order} LIMIT 1"
    ).fetchone()
    return None if found is None else int(found[0])


def _by_age(store: "Store", retain_ms: int) -> bool:
    tables = _tables(store)
    newest = [end for end in (_end(store, name, "DESC") for name in tables) if end is not None]
    if not newest:
        return False
    horizon = max(newest) - retain_ms
    more = False
    for name in tables:
        oldest = _end(store, name, "ASC")
        if oldest is not None and oldest < horizon:
            more = _drop_oldest(store, name, horizon) == STEP_ROWS or more
    with store.db.atomic():
        store.db.conn.execute(f"DELETE FROM {quoted(GAPS)} WHERE to_ms < ?", [horizon])
    return more


def _by_size(store: "Store", max_size: int) -> bool:
    if used_bytes(store) <= max_size:
        return False
    ends = ((_end(store, name, "ASC"), name) for name in _tables(store))
    oldest = min(((end, name) for end, name in ends if end is not None), default=None)
    return oldest is not None and _drop_oldest(store, oldest[1]) > 0


def _drop_oldest(store: "Store", name: str, before_ms: int | None = None) -> int:
    """Delete a step's worth of rows in the order in which they came; how many it were."""
    table = quoted(name)
    with store.db.atomic():
        return store.db.conn.execute(
            f"DELETE FROM {table} WHERE row IN (SELECT row FROM "
            f"(SELECT row, recorded_ms FROM {table} ORDER BY row LIMIT ?1) "
            "WHERE ?2 IS NULL OR recorded_ms < ?2)",
            [STEP_ROWS, before_ms],
        ).rowcount


def _give_back(store: "Store") -> bool:
    pages, free = _pragma(store, "page_count"), _pragma(store, "freelist_count")
    spare = max(SPARE_PAGES, pages // 10)
    if free <= spare:
        return False
    step = min(STEP_PAGES, free - spare)
    # A script, since it is stepped to its end; `execute` would give back a single page.
    store.db.conn.executescript(f"PRAGMA incremental_vacuum({step})")
    return free - step > spare


def used_bytes(store: "Store") -> int:
    """What the records and their indexes take: the file without its free pages and its log."""
    pages = _pragma(store, "page_count") - _pragma(store, "freelist_count")
    return pages * _pragma(store, "page_size")


def _pragma(store: "Store", name: str) -> int:
    value: int = store.db.conn.execute(f"PRAGMA {name}").fetchone()[0]
    return value
