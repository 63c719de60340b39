"""The operator's dashboard in a real browser, on a real daemon whose sources a test can end."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.kit import PHONE, Witness, ask, begin, shows, stop, until
from tests.browser.whole import as_several
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd
from tests.edge.redis import program

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

NONE = "\N{EN DASH}"
SCRIPTED = str(Path(__file__).parent / "scripted")
EXTRA = """
[sources.all-fills]
kind = "scripted-fills"
restart_delay = "60s"

[transforms.analytics]
kind = "totals"
input = "all-fills"

[sinks.script]
kind = "scripted-script"

[sinks.pages]
kind = "pages"
"""


class House(Flowd):
    """The daemon and what the browser said of it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.witness = Witness(("WebSocket", "ERR_", "status of 401"))
        super().__init__(
            folder,
            None,
            settings={"admin_token": ADMIN_TOKEN, **settings},
            extra=EXTRA,
            env=ADMIN,
            arguments=["--plugins-dir", SCRIPTED],
        )

    def open(self, page: Page) -> Page:
        """Open the page, and wait until it knows the daemon."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}/operate")
        page.wait_for_selector("#components tbody tr:not(.ghost)")
        page.wait_for_selector("#connection[data-status=connected]")
        return page


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "flowd") as house:
        begin(house)
        yield house
        house.witness.conclude(house)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[House]:
    """The same, of a process that serves and one that does the rest, with a server between."""
    program()
    with House(tmp_path / "flowd", edges=1) as house:
        begin(house)
        yield house
        house.witness.conclude(house)


def row(page: Page, name: str, table: str = "components") -> str:
    """All that a row says, such as that of a component."""
    return page.locator(f"#{table} tr:has(th:has-text('{name}'))").inner_text()


def test_each_component_has_a_row_with_how_it_does(page: Page, house: House) -> None:
    house.open(page)

    assert page.locator("#components tbody tr").count() == 7
    assert "delivering" in row(page, "all-fills")
    assert "All works" in page.inner_text("#health")
    shows(page, "document.querySelectorAll('#components polyline[points]').length > 0")
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert "of a budget of 256 MiB" in page.inner_text("#machine")
    assert page.inner_text("#saved").endswith("ago")


def test_one_process_has_no_table_of_processes(page: Page, house: House) -> None:
    house.open(page)

    assert page.is_hidden("#processes-panel")


def test_each_process_has_a_row_and_who_is_killed_says_so(page: Page, several: House) -> None:
    several.open(page)
    told = {one["name"]: one for one in ask(several, "/status")["processes"]}

    assert page.locator("#processes tbody th").all_inner_texts() == ["server", "ingest", "edge-1"]
    name, role, state, lag, clients, memory, up, restarts, pid = cells(page, "edge-1")
    assert (name, role, state, restarts) == ("edge-1", "edge", "●running", "0")
    assert pid == str(told["edge-1"]["pid"])
    assert lag.endswith(" ms")
    assert int(clients) >= 1, "the page itself"
    assert memory.endswith(" MiB")
    assert up.endswith(" s")
    assert cells(page, "ingest")[1] == "ingest"
    assert cells(page, "server")[1:4] == [NONE, "●running", NONE]
    assert page.is_hidden("#peers-panel"), "each is told of once"

    os.kill(told["ingest"]["pid"], signal.SIGKILL)

    until(lambda: "was ended by SIGKILL" in looked(page), "its row says why")
    until(lambda: cells(page, "ingest")[7] == "1", "it is started again")
    until(lambda: "●running" in cells(page, "ingest"), "it is back")
    until(lambda: "All works" in page.inner_text("#health"), "all is well again")


def looked(page: Page) -> str:
    """What the ingest's row says, asked for now: it may be back before the page asks by itself."""
    page.evaluate("flowdOperate.look()")
    return row(page, "ingest", "processes")


def cells(page: Page, name: str) -> list[str]:
    """What is in each cell of a process' row."""
    texts = page.locator(f"#processes tr:has(th:has-text('{name}')) > *").all_inner_texts()
    return ["".join(text.split("\n")) for text in texts]


def test_a_source_that_failed_says_why_and_left_a_gap(page: Page, house: House) -> None:
    house.open(page)

    assert ask(house, "/break/all-fills", []) == "said"

    until(lambda: "last: the test pulled the plug" in row(page, "all-fills"), "its row says why")
    until(lambda: "nothing came later" in page.inner_text("#gaps"), "the gap is told")
    assert "the test pulled the plug" in page.inner_text("#gaps")


def test_the_admin_token_is_asked_for_once_and_is_stored_nowhere(page: Page, house: House) -> None:
    house.open(page)
    button = page.get_by_role("button", name="reconnect all-fills")

    button.click()
    page.fill("#admin-token", "a wrong one")
    page.keyboard.press("Enter")
    until(lambda: "not the admin token" in page.inner_text("#admin-words"), "it was refused")
    page.fill("#admin-token", ADMIN["EDGE_ADMIN_TOKEN"])
    page.keyboard.press("Enter")
    until(lambda: "is started again" in page.inner_text("#said"), "it was accepted")
    page.get_by_role("button", name="reconnect analytics").click()

    until(lambda: "analytics is started again" in page.inner_text("#said"), "nobody asked again")
    assert not page.locator("#admin").is_visible()
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert ADMIN["EDGE_ADMIN_TOKEN"] not in page.evaluate(kept)
    page.click("#admin-forget")
    button.click()
    assert page.locator("#admin").is_visible()


def test_a_long_error_keeps_the_numbers_in_view(page: Page, house: House) -> None:
    words = "cannot connect to wss://exchange.example/" + "a-long-path/" * 30

    def broken(route: Route) -> None:
        answer = route.fetch()
        status = answer.json()
        status["components"][0] |= {"state": "backoff", "error": words}
        route.fulfill(response=answer, json=status)

    page.route("**/status?*", broken)
    house.open(page)
    why = page.locator("#components tbody .why").first
    until(lambda: why.inner_text() == words, "it is there")
    whole = "why => why.scrollHeight <= why.clientHeight"
    assert not why.evaluate(whole), "two lines of it"

    last = page.locator("#components thead th").last.bounding_box()
    panel = page.locator("#components").locator("..").bounding_box()
    assert last is not None
    assert panel is not None
    assert last["x"] + last["width"] <= panel["x"] + panel["width"] + 1

    why.focus()
    page.keyboard.press("Enter")
    until(lambda: why.evaluate(whole), "all of it, without a pointer")
    until(lambda: page.locator("#rate").inner_text(), "it is drawn again")
    assert why.get_attribute("aria-expanded") == "true"


def test_streams_are_listed_with_what_they_hold(page: Page, house: House) -> None:
    assert ask(house, "/many/all-fills/3", []) == "said"
    house.open(page)

    until(lambda: "all-fills\tFill\t3" in page.inner_text("#streams"), "three fills")
    names = set(page.locator("#streams tbody th").all_inner_texts())
    assert names >= {"all-fills", "all-fills.totals", "analytics", "analytics.hours", "outages"}
    assert not [name for name in names if "/" in name], "none that nobody may read"


def test_what_is_for_programs_says_so_before_it_is_followed(page: Page, house: House) -> None:
    house.open(page)
    page.wait_for_selector("#streams tbody tr:not(.ghost)")
    links = page.locator("#streams tbody a[href*='/streams/']")

    assert set(links.all_inner_texts()) == {"JSON"}
    label = links.first.get_attribute("aria-label") or ""
    assert label.endswith(", as JSON for programs")
    links.first.click()
    assert "records" in json.loads(page.inner_text("body"))


def test_the_foot_of_a_page_leads_to_the_streams(page: Page, house: House) -> None:
    house.witness.watch(page).goto(f"http://127.0.0.1:{house.port}/traders")
    page.set_viewport_size({"width": 1280, "height": 320})
    page.click(".foot >> text=Streams")
    page.wait_for_selector("#streams tbody tr:not(.ghost)")

    place = "document.getElementById('streams-title').getBoundingClientRect()"
    shows(page, f"{place}.top >= 0 && {place}.bottom <= innerHeight")


def test_without_a_connection_nothing_is_called_well(page: Page, house: House) -> None:
    house.open(page)

    stop(house)

    until(lambda: "no connection" in page.inner_text("#health"), "it is not known any more")
    assert page.locator("#health .good").count() == 0


def test_what_is_focused_stays_when_the_table_is_written_anew(page: Page, house: House) -> None:
    house.open(page)
    page.get_by_role("button", name="reconnect analytics").focus()
    seen = page.evaluate("flowdOperate.status.time_ms")

    shows(page, f"flowdOperate.status.time_ms > {seen}")

    name = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(name) == "reconnect analytics"


def test_what_does_not_work_of_several_is_said_first_of_whole_processes(
    page: Page, house: House
) -> None:
    house.open(as_several(page))

    until(lambda: "3 processes not working" in page.inner_text("#health"), "they are counted")
    assert "not all works" in row(page, "edge-1", "processes")
    assert "does not answer" in row(page, "edge-2", "processes")
    assert "backoff\ncannot be started: Resource" in row(page, "edge-4", "processes")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, house: House, scheme: str
) -> None:
    context = browser.new_context(viewport=PHONE, color_scheme=scheme)  # type: ignore[arg-type]
    page = house.open(as_several(context.new_page()))

    assert page.is_visible("#processes")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
