"""`flowd import` and `flowd export` with a real PostgreSQL: what lay in a file lies in it
afterwards, and a daemon goes on there.
"""

from pathlib import Path
from typing import Any

import flowd_history
import pytest
import trio
from flowd_history import Config, keep, query
from flowd_postgres import DATABASE
from typer.testing import CliRunner, Result

from flowd import testing
from flowd.history import Page, Query
from flowd.market import Liquidation
from flowd.plugin import Stream, codec
from tests.edge.postgres import Cluster
from tests.plugins.recorded import order, orders, record
from tests.plugins.test_history import again, table


@pytest.fixture
def db(shared_cluster: Cluster) -> str:
    return shared_cluster.database()


def run(*arguments: object) -> Result:
    exports, imports = flowd_history.flowd_commands()
    name, *rest = map(str, arguments)
    app = {"export": exports, "import": imports}[name]
    return CliRunner().invoke(app, rest, env={"COLUMNS": "200"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A history file of two epochs with a gap between, and a table."""
    path = tmp_path / "history.db"

    async def fill() -> None:
        await record(path, orders(30), table(("BTC/1", 1), ("ETH/1", 2)))
        later: Stream[Liquidation] = Stream("orders", Liquidation, clock=testing.clock, epoch="b")
        for number in range(30, 40):
            later.append(order(number))
        await record(path, later)

    trio.run(fill)
    return path


def both(file: Path, db: str, stream: str) -> tuple[Page, Page]:
    """The stream in the file and in the database."""
    wanted = Query(stream, limit=10_000)
    with query.File(file).reading() as old, DATABASE.archive(db).reading() as new:
        assert new.place(stream) == old.place(stream)
        assert new.kept()[stream] == old.kept()[stream]
        return old.page(wanted), new.page(wanted)


def test_what_lay_in_a_file_lies_in_the_database_once(file: Path, db: str) -> None:
    for _ in range(2):
        result = run("import", file, "--db", db)
        assert result.exit_code == 0, result.output
        assert "42/42" in result.stderr

    for stream in ("orders", "bars"):
        old, new = both(file, db, stream)
        assert new.records == old.records
        assert new.gaps == old.gaps
    assert len(old.records) == 2


def test_what_is_written_meanwhile_is_part_of_the_whole(
    file: Path, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = query.count
    monkeypatch.setattr(query, "count", lambda *asked: count(*asked) - 1)

    result = run("import", file, "--db", db)

    assert result.exit_code == 0, result.output
    assert "42/42" in result.stderr


async def test_a_daemon_goes_on_in_the_database_where_the_file_ends(
    file: Path, db: str, tmp_path: Path
) -> None:
    stream = orders(30)
    await record(tmp_path / "other.db", again(stream))
    result = await trio.to_thread.run_sync(run, "import", tmp_path / "other.db", "--db", db)
    assert result.exit_code == 0, result.output
    for number in range(30, 35):
        stream.append(order(number))
    stream.close()

    desk = testing.desk()
    config = Config(["orders"], database=db, spill=str(tmp_path / "spill"))
    await keep(config, testing.streams(stream), desk)

    with DATABASE.archive(db).reading() as reading:
        page = reading.page(Query("orders"))
    assert [codec.decode(json)["seq"] for _, json in page.records] == list(range(1, 36))
    assert page.gaps == []
    assert desk.tally.published == 5  # and not what was there


def test_an_export_is_an_import_byte_for_byte(file: Path, db: str, tmp_path: Path) -> None:
    out = tmp_path / "orders.jsonl"
    assert run("export", "orders", "--db", file, "-o", out).exit_code == 0

    result = run("import", out, "--stream", "orders", "--db", db)

    assert result.exit_code == 0, result.output
    again = run("export", "orders", "--db", db)
    assert again.stdout == out.read_text()


@pytest.mark.parametrize(
    ("written", "variable"),
    [
        ('{ env = "HISTORY" }', "HISTORY"),
        ('"${HISTORY}"', "HISTORY"),
        ('"postgresql://nobody@nowhere/"', "FLOWD__SINKS__A__DATABASE"),
    ],
)
def test_the_configuration_says_where_the_database_is(
    file: Path,
    db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, db)
    config = tmp_path / "flowd.toml"
    config.write_text(f'[sinks.a]\nkind = "history"\ninputs = ["orders"]\ndatabase = {written}\n')

    assert run("import", file, "-c", config, "-s", "orders").exit_code == 0

    result = run("export", "orders", "-c", config, "--symbol", "BTCUSDT")
    assert len(result.stdout.splitlines()) == 14
    result = run("export", "bars", "--db", db)
    assert (result.exit_code, "has no stream 'bars'; there are: orders" in result.output) == (
        2,
        True,
    )


def test_a_history_of_all_streams_has_each_of_them(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "flowd.toml"
    config.write_text(f'[sinks.a]\nkind = "history"\ninputs = ["*"]\npath = "{file}"\n')

    result = run("export", "bars", "-c", config)

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.db"], "there is no such file"),
        (["HISTORY", "--stream", "nope"], "has no stream 'nope'; there are: bars, orders"),
        (["lines.jsonl"], "say which, with --stream NAME"),
        (["lines.jsonl", "-s", "orders"], "lines.jsonl:2: is no line of an export"),
    ],
)
def test_a_mistake_is_explained_and_exits_2(
    file: Path, db: str, tmp_path: Path, arguments: list[Any], said: str
) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"epoch":"a","seq":1,"time_ms":1,"value":{}}\n{"seq":2}\n')
    names = {"HISTORY": file, "lines.jsonl": lines}

    result = run("import", *(names.get(one, one) for one in arguments), "--db", db)

    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--db", "other.db"], "a history is put into a database"),
        (["--db", "mysql://host/name"], "installed plugins know: "),
        (["-c", "CONFIG"], 'has no sinks of kind = "history" with a `database`'),
        (["--db", "postgresql://me@/x?host=/nowhere"], "what is there is not written twice"),
    ],
)
def test_a_target_that_is_none_is_told(
    file: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    config = tmp_path / "flowd.toml"
    config.write_text('[sinks.a]\nkind = "history"\ninputs = ["orders"]\n')

    options = [str(config) if one == "CONFIG" else one for one in options]
    result = run("import", file, *options)

    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "history.spill").exists()


def test_a_file_of_something_else_is_left_alone(db: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database")

    result = run("import", path, "--db", db)

    assert result.exit_code == 2
    assert "notes.db cannot be read: file is not a database" in result.output
    assert path.read_text() == "not a database"
