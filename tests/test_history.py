"""What histories share: who keeps them at an address, and how a page ends."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from flowd import history
from flowd.history import Query, database, gather, span, time_and_symbol
from flowd.plugin import UserError

KEPT = SimpleNamespace(name="somebody who keeps histories")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that keeps histories at `some://`."""
    entries = [EntryPoint("some", f"{__name__}:KEPT", history.GROUP)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    monkeypatch.setattr(EntryPoint, "load", lambda self: KEPT)


@pytest.mark.usefixtures("installed")
def test_an_address_finds_who_keeps_histories_there() -> None:
    found: Any = database("some://host/name")

    assert found is KEPT


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("address", ["other://host/name", "some", "", "some:/host"])
def test_an_address_that_nobody_knows_is_told_with_those_that_are(address: str) -> None:
    with pytest.raises(UserError, match=r"such as postgresql://.*know: some://"):
        database(address)


def test_a_page_ends_where_the_limit_is_and_the_last_one_nowhere() -> None:
    def rows() -> Iterator[tuple[int, int, str, bytes]]:
        yield from ((time_ms, row, "e", b"{}") for row, time_ms in enumerate((5, 5, 9)))

    assert gather(rows(), Query("orders", limit=2)) == ([("e", b"{}")] * 2, (5, 1))
    assert gather(rows(), Query("orders", limit=3)) == ([("e", b"{}")] * 3, None)


def test_a_page_covers_the_range_from_its_place_to_where_it_ends() -> None:
    query = Query("orders", 10, 90, place=(20, 1))

    assert span(query, (30, 7)) == (20, 30)
    assert span(query, None) == (20, 90)
    assert span(Query("orders", 10, 90, newest_first=True, place=(80, 1)), (30, 7)) == (30, 80)


@pytest.mark.parametrize("odd", [2**63, "soon", 1.5, True, None])
def test_a_time_or_symbol_that_is_none_is_not_believed(odd: object) -> None:
    assert time_and_symbol(SimpleNamespace(time_ms=odd, symbol=7), 1000) == (1000, None)
    assert time_and_symbol(SimpleNamespace(time_ms=3, symbol="BTC"), 1000) == (3, "BTC")
