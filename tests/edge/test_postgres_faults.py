"""The history while its PostgreSQL is away, stuck, full or spoilt: what comes meanwhile waits on
the disk, and is there afterwards, once.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flowd_postgres import DATABASE, connecting
from flowd_postgres.spill import MAGIC, Call, Spill

from flowd.history import Away, Query, Settings, Store
from flowd.plugin import Position, Record, UserError, codec
from tests.edge.postgres import Cluster
from tests.needed import lacking
from tests.plugins.recorded import Bar, T

MIB = 1024**2


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    return tmp_path / "history.spill"


@pytest.fixture
def db(cluster: Cluster) -> str:
    return cluster.database()


@pytest.fixture
def stores(spill: Path) -> Iterator[Any]:
    """Opens stores, and closes them with the test."""
    made: list[Store] = []

    def open(db: str, **options: Any) -> Store:
        store = DATABASE.store(db, Settings(spill=spill, **options))
        made.append(store)
        store.open()
        store.add("bars", [])
        return store

    yield open
    for store in made:
        store.close()


def write(store: Store, first: int, last: int) -> None:
    """Write these numbers, ten at a time."""
    for begin in range(first, last + 1, 10):
        seqs = range(begin, min(begin + 10, last + 1))
        records = [Record(seq, T + seq, Bar("BTC", seq)) for seq in seqs]
        store.write("bars", Position("test", seqs[-1]), records)


def tidy(store: Store) -> None:
    while store.tidy(None, 1024**3):
        pass


def seqs(db: str) -> list[int]:
    with DATABASE.archive(db).reading() as reading:
        page = reading.page(Query("bars", limit=10_000))
    assert page.gaps == []
    return [codec.decode(json)["seq"] for _, json in page.records]


def caught_up(store: Store, db: str, spill: Path, count: int) -> None:
    """All of it is there, once, and nobody speaks of trouble any more."""
    tidy(store)
    assert seqs(db) == list(range(1, count + 1))
    assert store.problem() is None
    assert store.figures()["lag_ms"] == store.figures()["spilled_bytes"] == 0
    assert not spill.exists()


def test_what_comes_while_it_is_stopped_waits_on_the_disk(
    cluster: Cluster, db: str, stores: Any, spill: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = stores(db)
    write(store, 1, 50)
    cluster.stop()

    write(store, 51, 120)
    tidy(store)

    problem, figures = store.problem(), store.figures()
    assert problem is not None
    assert "cannot be written" in problem
    assert str(spill) in problem
    assert (figures["spilled"], figures["lag_ms"]) == (70, 69)
    assert spill.stat().st_mode & 0o777 == 0o600
    cluster.start()
    caught_up(store, db, spill, 120)
    write(store, 121, 130)
    assert len(seqs(db)) == 130
    said = [one.getMessage() for one in caplog.records if one.name == "flowd.history"]
    assert len(said) == 2
    assert "records wait in" in said[0]
    assert "is written again" in said[1]


def test_a_crash_of_the_server_loses_and_doubles_nothing(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    for round in range(3):
        write(store, round * 100 + 1, round * 100 + 50)
        cluster.kill()
        write(store, round * 100 + 51, round * 100 + 100)
        cluster.start()
        tidy(store)

    caught_up(store, db, spill, 300)


def test_what_waits_survives_a_restart_of_the_daemon(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    first = stores(db)
    write(first, 1, 20)
    cluster.stop()
    write(first, 21, 40)
    first.close()

    second = stores(db)
    assert second.place("bars") == Position("test", 40)
    write(second, 41, 60)
    second.close()
    cluster.start()
    third = stores(db)
    assert third.place("bars") == Position("test", 60)
    write(third, 61, 70)

    caught_up(third, db, spill, 70)


def test_a_daemon_that_starts_without_it_writes_all_that_is_retained(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    write(store, 1, 30)
    store.close()
    cluster.stop()

    again = stores(db)
    assert again.place("bars") is None
    again.meet("bars", "test")
    write(again, 1, 50)
    cluster.start()

    caught_up(again, db, spill, 50)


def test_catching_up_may_be_interrupted_anywhere(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    cluster.stop()
    write(store, 1, 100)
    store.close()
    cluster.start()
    for _ in range(5):
        store = stores(db)
        store.tidy(None, 1024**3)
        store.tidy(None, 1024**3)
        saved = spill.read_bytes()
        store.close()
        spill.write_bytes(saved)

    caught_up(stores(db), db, spill, 100)


class Crash(Exception):
    pass


def crash(spill: Spill) -> None:
    raise Crash


def test_a_crash_behind_the_last_frame_writes_nothing_twice(
    cluster: Cluster, db: str, stores: Any, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores(db)
    write(store, 1, 10)
    cluster.stop()
    write(store, 11, 20)
    store.meet("bars", "later")  # done twice it would be two gaps
    store.write("bars", Position("later", 21), [Record(21, T + 21, Bar("BTC", 21))])
    store.meet("bars", "latest")
    cluster.start()
    with monkeypatch.context() as patched:
        patched.setattr(Spill, "finish", crash)
        with pytest.raises(Crash):
            tidy(store)
    assert spill.exists()
    store.close()

    store = stores(db)
    tidy(store)

    with DATABASE.archive(db).reading() as reading:
        page = reading.page(Query("bars"))
    assert len(page.records) == 21
    assert [gap["epoch"] for gap in page.gaps] == ["later", "latest"]
    assert not spill.exists()
    assert cluster.ask("SELECT count(*) FROM flowd.spills", db) == [(0,)]


def test_a_full_spill_file_holds_the_recorder_up(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db, spill_max=4000)
    cluster.stop()

    with pytest.raises(Away, match="is full"):
        write(store, 1, 1000)

    place = store.place("bars")
    assert place is not None
    assert spill.stat().st_size <= 4000
    cluster.start()
    tidy(store)
    assert seqs(db) == list(range(1, place.seq + 1))


def test_a_torn_frame_is_cut_and_a_spoilt_one_is_told(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    cluster.stop()
    write(store, 1, 30)
    store.close()
    whole = spill.read_bytes()

    spill.write_bytes(whole[:-3])
    assert stores(db).place("bars") == Position("test", 20)

    cut = Spill(spill.with_name("other"), MIB)
    cut.open()
    cut.append(Call("add", "bars"))
    cut.append(Call("add", "bars"))
    with cut.path.open("r+b") as file:
        file.seek(cut.done + 10)
        file.write(b"?")
    with pytest.raises(UserError, match="is damaged at byte"):
        cut.next()
    cut.close()


def test_a_spill_file_of_something_else_is_left_alone(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    spill.write_bytes(b"my thesis\n")

    with pytest.raises(UserError, match="is no file of flowd's"):
        stores(db)

    assert spill.read_bytes() == b"my thesis\n"


def test_two_histories_do_not_share_a_spill_file(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    cluster.stop()
    write(store, 1, 10)

    with pytest.raises(UserError, match="in use by another"):
        stores(db)

    assert spill.read_bytes().startswith(MAGIC)


def test_a_locked_table_is_waited_for_two_seconds_then_the_disk_takes_it(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    write(store, 1, 10)
    with psycopg.connect(db) as other:
        other.execute("LOCK TABLE flowd.records IN ACCESS EXCLUSIVE MODE")
        write(store, 11, 30)
        assert "lock timeout" in str(store.problem())
        tidy(store)
        assert spill.exists()

    caught_up(store, db, spill, 30)


def test_a_server_that_is_suspended_is_given_up(
    cluster: Cluster, db: str, stores: Any, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "WAIT_S", 0.5)
    store = stores(db)
    write(store, 1, 10)
    cluster.signal(signal.SIGSTOP)

    write(store, 11, 30)

    assert store.problem() is not None
    cluster.signal(signal.SIGCONT)
    monkeypatch.undo()
    caught_up(store, db, spill, 30)


def test_a_wrong_password_is_told_at_once_and_not_shown(
    cluster: Cluster, spill: Path, stores: Any
) -> None:
    cluster.ask("CREATE ROLE trader LOGIN PASSWORD 'right'")
    hba = cluster.data / "pg_hba.conf"
    hba.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    cluster.ask("SELECT pg_reload_conf()")

    with pytest.raises(UserError, match="password authentication failed") as caught:
        stores(cluster.address("postgres", "trader", "wrong-guess"))

    assert "wrong-guess" not in str(caught.value)
    assert "trader@" in str(caught.value)


def test_a_password_that_becomes_wrong_is_waited_for(
    cluster: Cluster, spill: Path, stores: Any
) -> None:
    cluster.ask("CREATE ROLE trader LOGIN PASSWORD 'right'")
    cluster.ask("CREATE DATABASE trades OWNER trader")
    hba = cluster.data / "pg_hba.conf"
    hba.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    cluster.ask("SELECT pg_reload_conf()")
    db = cluster.address("trades", "trader", "right")
    store = stores(db)
    write(store, 1, 10)
    cluster.ask("ALTER ROLE trader PASSWORD 'new'")
    cluster.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'trader'")

    write(store, 11, 30)
    tidy(store)

    assert "authentication failed" in str(store.problem())
    cluster.ask("ALTER ROLE trader PASSWORD 'right'")
    caught_up(store, db, spill, 30)


def test_a_database_or_user_that_does_not_exist_is_told(cluster: Cluster, stores: Any) -> None:
    with pytest.raises(UserError, match="does not exist"):
        stores(cluster.address("nowhere"))


def test_a_user_who_may_make_nothing_is_told_what_to_grant(cluster: Cluster, stores: Any) -> None:
    cluster.ask("CREATE ROLE guest LOGIN")

    with pytest.raises(UserError, match="GRANT CREATE ON DATABASE"):
        stores(cluster.address("postgres", "guest"))


def test_a_day_that_somebody_dropped_is_made_anew(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    write(store, 1, 10)
    ((name,),) = cluster.ask(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'flowd.records'::regclass",
        db,
    )
    cluster.ask(f"DROP TABLE {name}", db)

    write(store, 11, 20)

    assert seqs(db) == list(range(11, 21))
    assert store.problem() is None


def test_a_table_that_somebody_dropped_is_told_and_records_wait(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    write(store, 1, 10)
    cluster.ask("ALTER TABLE flowd.records RENAME TO hidden", db)

    write(store, 11, 20)
    tidy(store)

    assert "flowd.records was dropped; restore it" in str(store.problem())
    cluster.ask("ALTER TABLE flowd.hidden RENAME TO records", db)
    caught_up(store, db, spill, 20)


def test_tables_that_a_newer_flowd_took_over_are_left_alone(
    cluster: Cluster, db: str, stores: Any, spill: Path
) -> None:
    store = stores(db)
    write(store, 1, 10)
    cluster.ask("UPDATE flowd.version SET version = 99", db)
    cluster.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )

    write(store, 11, 20)
    tidy(store)

    assert "newer flowd" in str(store.problem())
    assert cluster.ask("SELECT count(*) FROM flowd.records", db) == [(10,)]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 48 MiB."""
    folder = Path("/tmp") / f"flowd-pg-disk-{os.getpid()}"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        lacking(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    with suppress(OSError):
        folder.rmdir()


def test_a_full_disk_is_waited_for(
    small_disk: Path, cluster: Cluster, stores: Any, spill: Path
) -> None:
    place = small_disk / "space"
    place.mkdir()
    os.chown(place, cluster.data.stat().st_uid, cluster.data.stat().st_gid)
    cluster.ask(f"CREATE TABLESPACE small LOCATION '{place}'")
    cluster.ask("CREATE DATABASE small TEMPLATE template0 ENCODING 'UTF8' TABLESPACE small")
    db = cluster.address("small")
    store = stores(db)
    write(store, 1, 10)
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 65_536):
            pass

    write(store, 11, 3000)

    assert "No space left" in str(store.problem()) or "could not extend" in str(store.problem())
    ballast.unlink()
    caught_up(store, db, spill, 3000)
