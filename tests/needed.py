"""What a test needs of its machine."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

OLD_DUCKDB = Path(__file__).parent.parent / ".stamps/duckdb-1.4"
"""Where `make` puts the oldest DuckDB that we work with."""
DUCKDB = pytest.param("market.duckdb", marks=pytest.mark.duckdb)
"""A file's name, where a test works with DuckDB."""


def lacking(why: str) -> NoReturn:
    """Skip the test, and fail where CI runs: there everything is there."""
    assert os.environ.get("CI") != "true", why
    pytest.skip(why)
