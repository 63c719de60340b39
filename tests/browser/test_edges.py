"""The pages of a daemon that has its streams from another one, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import Witness, ask, shows, start, until
from tests.edge.process import Flowd

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SCRIPTED = str(Path(__file__).parent / "scripted")
EXTRA = """
[sources.upstream]
kind = "scripted-upstream"
way = "{way}"
restart_delay = "1s"

[sinks.pages]
kind = "pages"
liquidations = "force-orders"
"""
VENUES = "document.querySelector('#venues tbody').innerText"
BADGE = "document.querySelector('#connection').dataset.status"


@pytest.fixture
def way(tmp_path: Path) -> Path:
    """The file without which nothing comes from the other daemon."""
    file = tmp_path / "way"
    file.touch()
    return file


@pytest.fixture
def edge(way: Path, tmp_path: Path) -> Iterator[Flowd]:
    arguments = ["--plugins-dir", SCRIPTED]
    with Flowd(tmp_path / "flowd", None, extra=EXTRA.format(way=way), arguments=arguments) as flowd:
        start(flowd)
        yield flowd


def open_page(edge: Flowd, page: Page, path: str) -> Witness:
    witness = Witness(())
    witness.watch(page).goto(f"http://127.0.0.1:{edge.port}{path}")
    page.wait_for_selector("#connection[data-status=connected]")
    return witness


def test_the_overview_says_that_nothing_comes_any_more(
    edge: Flowd, way: Path, browser: Browser
) -> None:
    page = browser.new_page()
    witness = open_page(edge, page, "/")
    shows(page, f"{VENUES}.includes('● delivers')")

    way.unlink()
    page.wait_for_selector("#connection[data-status=silent]")
    shows(page, f"{VENUES}.includes('nothing since')")
    title = page.get_attribute("#connection", "title")
    way.touch()
    page.wait_for_selector("#connection[data-status=connected]")
    shows(page, f"{VENUES}.includes('● delivers')")

    assert "upstream brings nothing of what others deliver: the test cut the way" in str(title)
    assert witness.complaints == []


@pytest.mark.parametrize("path", ["/liquidations", "/chart", "/analytics", "/traders"])
def test_each_page_says_so(path: str, edge: Flowd, way: Path, browser: Browser) -> None:
    page = browser.new_page()
    open_page(edge, page, path)

    way.unlink()

    page.wait_for_selector("#connection[data-status=silent]")


def test_what_did_not_come_is_among_the_gaps(edge: Flowd, way: Path, browser: Browser) -> None:
    way.unlink()
    until(lambda: ask(edge, "/streams/outages.edge")["records"], "the way is cut")
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{edge.port}/operate")

    shows(page, "document.querySelector('#gaps tbody').innerText.includes('the test cut the way')")
    assert page.is_hidden("#gaps-empty")
    shows(page, f"{BADGE} === 'silent'")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/all-fills", "flowd.toml of the ingest daemon, which this one follows, add it:"),
        ("/analytics", "flowd.toml of the ingest daemon, which this one follows, add it:"),
        ("/", "sources and transforms in flowd.toml of the ingest daemon"),
        ("/heatmap", "in flowd.toml of the ingest daemon, which this one follows"),
        ("/chart", "the configuration of the ingest daemon, which this one follows"),
    ],
)
def test_what_is_not_configured_is_to_be_added_at_the_other_daemon(
    path: str, words: str, edge: Flowd, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{edge.port}{path}")

    shows(page, f"document.querySelector('#main').innerText.includes({words!r})")


def test_lines_of_more_venues_are_for_the_other_daemon_too(edge: Flowd, browser: Browser) -> None:
    page = browser.new_page()
    open_page(edge, page, "/")
    page.click("#more summary")

    shows(page, "document.querySelector('#more p').innerText.includes('of the ingest daemon')")
