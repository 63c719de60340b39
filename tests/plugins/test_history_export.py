"""`flowd export`: what is in the file comes out, typed, and mistakes are told in a sentence."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import flowd_history
import pytest
import trio
from attrs import frozen
from flowd_history import formats, query
from flowd_history.columns import columns_of
from typer.testing import CliRunner, Result

from flowd import testing
from flowd.market import Liquidation
from flowd.plugin import Seconds, codec
from tests.edge.process import COMMAND
from tests.plugins.recorded import T, making, order, orders, record
from tests.plugins.test_history import Told

COUNT = 30


@frozen
class Nested:
    inner: int


@frozen
class Everything:
    """A field of every kind, some empty; two called like columns of flowd's own."""

    text: str
    maybe: str | None
    choice: Literal["a", "b"]
    whole: int
    number: float
    seconds: Seconds
    price: Decimal
    amount: Decimal | None
    flag: bool
    list: list[int]
    nested: Nested
    seq: int
    odd: int | str


EVERYTHING = [
    Everything(
        text='with "quotes", commas\nand lines',
        maybe=None,
        choice="a",
        whole=2**60,
        number=0.1,
        seconds=Seconds(1.5),
        price=Decimal("0.1000"),
        amount=Decimal("-12345678901234567890.5"),
        flag=True,
        list=[1, 2],
        nested=Nested(1),
        seq=7,
        odd=1,
    ),
    Everything(
        text="",
        maybe="",
        choice="b",
        whole=-1,
        number=1e300,
        seconds=Seconds(0.0),
        price=Decimal("50000"),
        amount=None,
        flag=False,
        list=[],
        nested=Nested(2),
        seq=8,
        odd="one",
    ),
]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A history file with thirty orders and both values of every kind."""
    path = tmp_path / "history.db"

    async def fill() -> None:
        everything = testing.stream("everything", EVERYTHING, record=Everything)
        bars = testing.stream("bars")
        bars.append(order(1), key="one")
        await record(path, orders(COUNT), everything, bars)

    trio.run(fill)
    return path


def export(*arguments: object) -> Result:
    app, _ = flowd_history.flowd_commands()
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


def numbers(text: str) -> list[int]:
    return [int(codec.decode(line)["value"]["price"]) for line in text.splitlines()]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# -- lines and tables --


def test_json_lines_are_the_records_as_they_were_served_behind_their_epoch(db: Path) -> None:
    result = export("orders", "--db", db)

    stream = orders(COUNT)
    assert result.exit_code == 0
    assert numbers(result.stdout) == list(range(COUNT))
    first = codec.decode(result.stdout.splitlines()[0])
    assert first["epoch"] == "test"
    assert first["value"] == codec.decode(stream.after(0)[0].json)["value"]
    assert list(first) == ["epoch", "seq", "time_ms", "value"]


def test_progress_is_shown_on_standard_error(db: Path) -> None:
    result = export("orders", "--db", db)

    assert "30/30" in result.stderr
    assert "exporting" not in result.stdout


def test_what_is_written_meanwhile_is_part_of_the_whole(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = query.count
    monkeypatch.setattr(query, "count", lambda *asked: count(*asked) - 10)

    result = export("orders", "--db", db)

    assert "30/30" in result.stderr


def test_csv_has_a_column_for_each_field(db: Path) -> None:
    result = export("orders", "--db", db, "--format", "csv")

    rows = table(result.stdout)
    assert list(rows[0])[:6] == ["epoch", "seq", "recorded_ms", "symbol", "side", "price"]
    assert (rows[3]["seq"], rows[3]["symbol"], rows[3]["price"]) == ("4", "BTCUSDT", "3")
    assert (rows[3]["epoch"], rows[3]["time_ms"]) == ("test", str(T + 30))
    assert len(rows) == COUNT


def test_csv_keeps_every_kind_of_value(db: Path) -> None:
    result = export("everything", "--db", db, "--format", "csv")

    first, second = table(result.stdout)
    assert first["text"] == 'with "quotes", commas\nand lines'
    assert (first["maybe"], first["choice"], first["whole"]) == ("", "a", str(2**60))
    assert (first["number"], first["price"]) == ("0.1", "0.1000")
    assert (first["amount"], second["amount"]) == ("-12345678901234567890.5", "")
    assert (first["flag"], second["flag"]) == ("true", "false")
    assert (first["list"], first["nested"]) == ("[1,2]", '{"inner":1}')
    assert (first["seq"], first["value_seq"]) == ("1", "7")


def test_a_table_has_its_keys_and_what_is_unknown_is_one_column(db: Path) -> None:
    (row,) = table(export("bars", "--db", db, "-f", "csv").stdout)

    assert list(row) == ["epoch", "seq", "recorded_ms", "key", "value"]
    assert row["key"] == "one"
    assert codec.decode(row["value"])["id"] == "order-1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--start", T + 100, "--end", T + 130], [10, 11, 12]),
        (["--symbol", "ETHUSDT", "--end", T + 50], [1, 4]),
        (["--symbol", "ETHUSDT,SOLUSDT", "--end", T + 50], [1, 2, 4]),
        (["--symbol", "XRPUSDT"], []),
        (["--start", "2100-01-01"], []),
    ],
)
def test_a_range_and_symbols_are_chosen(db: Path, options: list[Any], expected: list[int]) -> None:
    result = export("orders", "--db", db, *options)

    assert result.exit_code == 0, result.stderr
    assert numbers(result.stdout) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--symbol", "BTCUSTD"], 'orders has no record of BTCUSTD. Did you mean "BTCUSDT"?'),
        (["--symbol", "?"], "orders has no record of ?; there are: BTCUSDT, ETHUSDT, SOLUSDT"),
        (["--symbol", "BTCUSDT", "--start", "2100-01-01"], "orders has no record in this range"),
        (["--end", "1970-01-02"], "orders has no record in this range"),
    ],
)
def test_an_export_of_nothing_says_why(db: Path, options: list[Any], told: str) -> None:
    result = export("orders", "--db", db, *options)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == f"flowd export: {told}"


async def test_the_file_is_read_while_it_is_written(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "history.db"
    stream, store = orders(50), Told(path)
    nursery.start_soon(making(store, stream).run)
    await store.reached(50)

    result = await trio.to_thread.run_sync(export, "orders", "--db", path)

    assert numbers(result.stdout) == list(range(50))
    nursery.cancel_scope.cancel()


# -- files --


def test_the_name_of_the_file_decides_the_format(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "orders.csv"

    result = export("orders", "--db", db, "--output", out)

    assert result.exit_code == 0
    assert result.stdout == ""
    assert len(table(out.read_text(encoding="utf-8"))) == COUNT


def test_a_file_is_there_whole_or_not_at_all(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "orders.jsonl"
    out.write_text("precious")
    with db.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * 4096 * 4)

    result = export("orders", "--db", db, "--output", out, "--force")

    assert result.exit_code == 2
    assert out.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir() if "export" in path.name) == []


@pytest.mark.duckdb
def test_parquet_has_typed_columns(db: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    out = tmp_path / "orders.parquet"

    result = export("orders", "--db", db, "--output", out)

    found = duckdb.connect()
    types = dict(
        (name, kind)
        for name, kind, *_ in found.execute(f"DESCRIBE SELECT * FROM '{out}'").fetchall()
    )
    rows = found.execute(f"SELECT seq, time_ms, symbol, price FROM '{out}'").fetchall()
    assert result.exit_code == 0, result.stderr
    assert (types["seq"], types["time_ms"], types["symbol"]) == ("BIGINT", "BIGINT", "VARCHAR")
    assert types["price"] == "DECIMAL(38,18)"
    assert rows[:2] == [(1, T, "BTCUSDT", Decimal(0)), (2, T + 10, "ETHUSDT", Decimal(1))]
    assert len(rows) == COUNT


@pytest.mark.duckdb
def test_parquet_rounds_nothing_and_tells_nothing_from_empty(db: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    out = tmp_path / "everything.parquet"

    result = export("everything", "--db", db, "--output", out)

    connection = duckdb.connect()
    cells = connection.execute(
        f"SELECT text, maybe, whole, number, price, amount, flag, list, value_seq, odd FROM '{out}'"
    ).fetchall()
    assert result.exit_code == 0, result.stderr
    assert cells == [
        (
            *('with "quotes", commas\nand lines', None, 2**60, 0.1, Decimal("0.1000")),
            *(Decimal("-12345678901234567890.5"), True, "[1,2]", 7, "1"),
        ),
        ("", "", -1, 1e300, Decimal("50000.0000"), None, False, "[]", 8, "one"),
    ]


@pytest.mark.duckdb
def test_parquet_of_nothing_is_a_file_with_columns(db: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    out = tmp_path / "none.parquet"

    export("orders", "--db", db, "--output", out, "--start", "2100-01-01")

    assert duckdb.connect().execute(f"SELECT count(*) FROM '{out}'").fetchone() == (0,)


@pytest.mark.parametrize("cell", ["1" * 21, "0." + "1" * 19, "soon"])
def test_a_decimal_that_is_too_wide_makes_its_column_a_text(cell: str) -> None:
    column = formats._Column("price", "decimal")
    for one in ("0.5", cell, "1"):
        column.note(one)

    assert (column.fits, column.type) == (False, "VARCHAR")


def test_digits_that_say_nothing_are_not_too_many() -> None:
    column = formats._Column("price", "decimal")
    for one in ("-" + "0" * 30 + "9" * 20 + "." + "9" * 18 + "0" * 30, None):
        column.note(one)

    assert column.type == "DECIMAL(38, 18)"


@frozen
class Price:
    symbol: str
    price: Decimal
    time_ms: int


async def priced(path: Path, *prices: str, days: int = 1) -> None:
    values = [
        Price("BTCUSDT", Decimal(price), T + number % days * 86_400_000)
        for number, price in enumerate(prices)
    ]
    await record(path, testing.stream("prices", values, record=Price))


@pytest.mark.duckdb
async def test_a_column_that_became_a_text_is_told(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    await priced(tmp_path / "history.db", "1", "0." + "1" * 19)

    result = export("prices", "--db", tmp_path / "history.db", "-o", tmp_path / "p.parquet")

    assert result.exit_code == 0
    assert "price: a text here" in result.stderr


WIDE = "12345678901234567890.123456789012345678"
"""As many digits as there are, on both sides."""


@pytest.fixture
def two_files(tmp_path: Path) -> list[str]:
    """Two exports of one stream whose decimals are of different widths; one has none at all."""
    pytest.importorskip("duckdb", reason="Parquet is written by DuckDB, which is not here")
    made = []
    for number, prices in enumerate([["1", "25"], [WIDE, "0.000000000000000001"]]):
        trio.run(priced, tmp_path / f"{number}.db", *prices)
        out = tmp_path / f"{number}.parquet"
        result = export("prices", "--db", tmp_path / f"{number}.db", "-o", out)
        assert result.exit_code == 0, result.stderr
        made.append(str(out))
    return made


PRICES = [Decimal("1"), Decimal("25"), Decimal(WIDE), Decimal("0.000000000000000001")]


@pytest.mark.duckdb
def test_duckdb_reads_two_files_of_a_stream_together(two_files: list[str]) -> None:
    duckdb = pytest.importorskip("duckdb")

    rows = duckdb.connect().execute(f"SELECT price FROM read_parquet({two_files})").fetchall()

    assert [price for (price,) in rows] == PRICES


def test_pyarrow_reads_two_files_of_a_stream_together(two_files: list[str]) -> None:
    dataset = pytest.importorskip("pyarrow.dataset", reason="pyarrow is not here")

    read = dataset.dataset(two_files, format="parquet").to_table()

    assert read["price"].to_pylist() == PRICES
    assert str(read.schema.field("price").type) == "decimal128(38, 18)"


def test_pandas_reads_two_files_of_a_stream_together(two_files: list[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not here")
    pytest.importorskip("pyarrow", reason="pandas reads Parquet by pyarrow, which is not here")

    read = pandas.read_parquet(two_files)

    assert list(read["price"]) == PRICES


def test_polars_reads_two_files_of_a_stream_together(two_files: list[str]) -> None:
    polars = pytest.importorskip("polars", reason="polars is not here")

    read = polars.read_parquet(two_files)

    assert read["price"].to_list() == PRICES
    assert read["price"].dtype == polars.Decimal(38, 18)


@pytest.mark.duckdb
async def test_parquet_by_day_is_a_folder_with_a_file_for_each(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    await priced(tmp_path / "history.db", *map(str, range(9)), days=3)
    out = tmp_path / "prices"
    db = tmp_path / "history.db"

    result = await trio.to_thread.run_sync(export, "prices", "--db", db, "-o", out, "--by-day")

    assert result.exit_code == 0, result.stderr
    days = ["day=2026-09-21", "day=2026-09-22", "day=2026-09-23"]
    assert sorted(os.listdir(out)) == days
    whole = f"read_parquet('{out}/**/*.parquet', hive_partitioning = true)"
    sql = f"SELECT day::VARCHAR, list(price ORDER BY price) FROM {whole} GROUP BY 1 ORDER BY 1"
    assert duckdb.connect().execute(sql).fetchall() == [
        (day.removeprefix("day="), [Decimal(n), Decimal(n + 3), Decimal(n + 6)])
        for n, day in enumerate(days)
    ]
    again = export("prices", "--db", db, "-o", out, "--by-day")
    assert (again.exit_code, "exists; give another name" in again.stderr) == (2, True)
    later = export(
        "prices", "--db", db, "-o", out, "--by-day", "--force", "--start", T + 86_400_000
    )
    assert later.exit_code == 0
    assert sorted(os.listdir(out)) == days[1:]


def test_a_day_is_that_of_the_value_or_of_its_record() -> None:
    assert formats._day(str(T), "0") == "2026-09-21"
    assert formats._day(None, str(T)) == formats._day("9" * 18, str(T)) == "2026-09-21"


def test_parquet_without_duckdb_says_what_to_install(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)

    result = export("orders", "--db", db, "--output", tmp_path / "orders.parquet")

    assert result.exit_code == 2
    assert "pip install 'flowd-daemon[duckdb]'" in result.stderr


# -- where the file is, and mistakes --


CONFIG = """
[sinks.sse]
kind = "sse"
[sinks.history]
kind = "history"
inputs = ["orders"]
path = "history.db"
"""


def test_the_configuration_says_where_the_file_is(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "flowd.toml").write_text(CONFIG)

    result = export("orders", "--config", tmp_path / "flowd.toml")

    assert result.exit_code == 0, result.stderr
    assert len(numbers(result.stdout)) == COUNT


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (CONFIG.replace("history.db", "${WHERE}.db"), {"WHERE": "history"}),
        (CONFIG.replace("history.db", "elsewhere.db"), {"FLOWD__SINKS__HISTORY__PATH": "DB"}),
        (CONFIG.replace("orders", "fills"), {"FLOWD__SINKS__HISTORY__INPUTS": '["orders"]'}),
        ("", {"FLOWD__SINKS__MINE": '{ kind = "history", inputs = ["orders"] }'}),
        (CONFIG + '[sources.a]\nkind = "feed"\nurl = "${UNSET}"', {}),
    ],
)
def test_what_the_environment_says_of_it_counts_as_when_flowd_runs(
    db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    variables: dict[str, str],
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "flowd.toml").write_text(text)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(db) if value == "DB" else value)

    result = export("orders", "--config", tmp_path / "flowd.toml")

    assert result.exit_code == 0, result.stderr
    assert len(numbers(result.stdout)) == COUNT


@pytest.mark.parametrize(
    ("text", "stream", "says"),
    [
        (
            CONFIG.replace("history.db", "${UNSET}"),
            "orders",
            'sinks.history.path = "${UNSET}": the environment variable UNSET is not set',
        ),
        (None, "orders", "there is no such file; name one with --config or --db"),
        ("[sinks", "orders", "not valid TOML"),
        ("", "orders", 'has no sink of kind = "history"'),
        ("sinks = 5", "orders", 'has no sink of kind = "history"'),
        (CONFIG, "fills", "no history keeps 'fills'; kept are: orders"),
        (CONFIG.replace("history.db", "nowhere.db"), "orders", "there is no such file"),
    ],
)
def test_a_mistake_about_the_configuration_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    stream: str,
    says: str,
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    if text is not None:
        (tmp_path / "flowd.toml").write_text(text)

    result = export(stream, "--config", tmp_path / "flowd.toml")

    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "has no stream 'nope'; there are: bars, everything, orders"),
        (["orders", "--start", "soon"], "--start soon: start is no time; expected milliseconds"),
        (["orders", "--symbol", ","], "--symbol: name at least one"),
        (["everything", "--symbol", "BTCUSDT"], "the records of everything have no symbol"),
        (["orders", "--format", "parquet"], "parquet is no text: name a file with --output"),
        (["orders", "--by-day"], "--by-day: makes a folder of Parquet files"),
        (["orders", "--by-day", "-f", "csv", "-o", "x"], "--by-day: makes a folder"),
        (["orders", "--output", "EXISTING"], "exists; give another name, or --force"),
        (["orders", "--output", "/nowhere/orders.csv"], "No such file or directory"),
        (["orders", "--format", "xls"], "xls"),
        (
            ["orders", "--start", "2026-11-02", "--end", "2026-11-01"],
            "--start 2026-11-02 is not before --end 2026-11-01",
        ),
    ],
)
def test_a_mistake_is_explained_and_exits_2(db: Path, arguments: list[str], says: str) -> None:
    arguments = [str(db) if one == "EXISTING" else one for one in arguments]

    result = export(*arguments, "--db", db)

    assert result.exit_code == 2
    assert says in result.stderr


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "diary").write_bytes(b"my diary, " * 1000)

    result = export("orders", "--db", tmp_path / "diary")

    assert result.exit_code == 2
    assert "cannot be read: file is not a database" in result.stderr


@pytest.fixture
def pipe() -> Iterator[int]:
    """Where to write, with nobody reading."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.edge
def test_who_stops_reading_gets_no_traceback(db: Path, pipe: int) -> None:
    done = subprocess.run(
        [*COMMAND, "export", "orders", "--db", str(db)],
        stdout=pipe,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# -- columns --


def test_columns_follow_from_the_record_class() -> None:
    assert columns_of(Everything) == [
        *(("text", "text"), ("maybe", "text"), ("choice", "text"), ("whole", "integer")),
        *(("number", "number"), ("seconds", "number"), ("price", "decimal")),
        *(("amount", "decimal"), ("flag", "boolean"), ("list", "json"), ("nested", "json")),
        *(("seq", "integer"), ("odd", "json")),
    ]
    assert ("price", "decimal") in columns_of(Liquidation)
    assert columns_of(object) == []
