"""`flowd import-open-interest`: files of Binance's archive into the heatmap's file."""

import sqlite3
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from flowd_heatmap.command import import_open_interest
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File
from flowd_heatmap.rows import INTEREST
from typer.testing import CliRunner, Result

from tests.needed import DUCKDB

HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,count_long_short_ratio,"
    "sum_taker_long_short_vol_ratio\n"
)
REST = ",1.5,1.2,1.1,0.9\n"


@pytest.fixture(params=[DUCKDB, "market.db"])
def database(request, tmp_path) -> Path:
    if request.param.endswith(".duckdb"):
        pytest.importorskip("duckdb")
    return tmp_path / request.param


def row(time: str, contracts: str, symbol: str = "BTCUSDT") -> str:
    return f"{time},{symbol},{contracts},7{REST}"


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(import_open_interest)
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


def kept(path: Path) -> list[tuple[str, int, Decimal]]:
    file = File(path, engine_of(path))
    file.open(read_only=True)
    found = file.reader(INTEREST, 0).page() or []
    file.close()
    return [(one.symbol, one.time_ms, one.contracts) for one in found]


def test_a_table_and_an_archive_are_imported(database, tmp_path):
    (tmp_path / "one.csv").write_text(HEADER + row("2023-11-14 22:10:00", "1000.5"))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("two.csv", HEADER + row("1700000100000", "1001"))

    result = run(tmp_path / "one.csv", tmp_path / "two.zip", "--database", database)

    assert result.exit_code == 0, result.stderr
    assert kept(database) == [
        ("BTCUSDT", 1_699_999_800_000, Decimal("1000.5")),
        ("BTCUSDT", 1_700_000_100_000, Decimal("1001")),
    ]
    assert "2 samples of BTCUSDT are new, 2023-11-14T22:10:00Z to 2023-11-14T22:15:00Z" in (
        result.stderr
    )


def test_an_import_may_be_repeated(database, tmp_path):
    (tmp_path / "one.csv").write_text(HEADER + row("2023-11-14 22:10:00", "1000.5"))
    run(tmp_path / "one.csv", "--database", database)

    result = run(tmp_path / "one.csv", "--database", database)

    assert result.exit_code == 0
    assert "0 samples of BTCUSDT are new" in result.stderr
    assert "1 were there already" in result.stderr
    assert len(kept(database)) == 1


def test_a_row_that_is_no_sample_is_named_with_its_line(database, tmp_path):
    text = HEADER + row("2023-11-14 22:10:00", "1") + row("2023-11-14 22:15:00", "much")
    (tmp_path / "one.csv").write_text(text)

    result = run(tmp_path / "one.csv", "--database", database)

    assert result.exit_code == 0
    assert "1 rows left out: bad number; the first is line 3: 2023-11-14 22:15:00" in result.stderr
    assert len(kept(database)) == 1


def test_another_kind_of_file_is_refused(database, tmp_path):
    (tmp_path / "one.csv").write_text("time,price\n1,2\n")

    result = run(tmp_path / "one.csv", "--database", database)

    assert result.exit_code == 2
    assert "one.csv: no metrics file of Binance's: expected the columns create_time" in (
        result.stderr
    )


def test_a_file_that_is_missing_or_no_archive_is_named(database, tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no archive")

    missing = run(tmp_path / "gone.csv", "--database", database)
    bad = run(tmp_path / "bad.zip", "--database", database)

    assert (missing.exit_code, bad.exit_code) == (2, 2)
    assert "there is no file" in missing.stderr
    assert "bad.zip: File is not a zip file" in bad.stderr


def test_somebody_elses_file_is_not_written_to(tmp_path):
    database = tmp_path / "market.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE open_interest_history (id INTEGER PRIMARY KEY, symbol TEXT)")
    connection.close()
    (tmp_path / "one.csv").write_text(HEADER + row("2023-11-14 22:10:00", "1"))

    result = run(tmp_path / "one.csv", "--database", database)

    assert result.exit_code == 2
    assert "was made by somebody else and is not written to" in result.stderr


def test_without_duckdb_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    (tmp_path / "one.csv").write_text(HEADER)

    result = run(tmp_path / "one.csv", "--database", tmp_path / "market.duckdb")

    assert result.exit_code == 2
    assert "pip install 'flowd-daemon[duckdb]'" in result.stderr
