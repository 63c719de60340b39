"""Every page in every look, read by axe-core: the rules of WCAG 2.2 A and AA, and what is good
practice besides.
"""

from pathlib import Path
from typing import Any

import flowd_pages
import pytest
from flowd_pages import fetch
from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser.kit import DESKTOP, PHONE
from tests.browser.whole import (
    ADDRESSES,
    BESIDES,
    ERRORS,
    PROCESSES,
    Whole,
    as_several,
    rules,
)
from tests.needed import lacking

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

AXE = Path(flowd_pages.__file__).parent / "node_modules/axe-core/axe.min.js"
LOOKS: list[tuple[str, ViewportSize]] = [
    *(("dark", DESKTOP), ("light", DESKTOP), ("dark", PHONE), ("light", PHONE)),
]
RUN = """
    axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        resultTypes: ['violations'],
    }).then(({ violations, passes }) => ({
        passed: passes.length,
        violations: violations.map(({ id, nodes }) =>
            [id, nodes.length, nodes[0].html.slice(0, 200), nodes[0].failureSummary].join(': ')),
    }))
"""
OPEN = """
    for (const more of document.querySelectorAll('details:not([hidden])')) more.open = true;
    document.querySelector('#options-button')?.click();
    document.querySelector('#admin')?.showModal();
"""
"""Whatever can be opened is."""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, fetched if it is not there."""
    said = fetch.fetch(development=True)
    if not AXE.is_file():
        lacking(said)
    return AXE.read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """What axe finds wrong."""
    found: dict[str, Any] = page.evaluate(RUN)
    assert found["passed"] > 10, "axe looked at something"
    wrong: list[str] = found["violations"]
    return wrong


def look(browser: Browser, axe: str, theme: str, viewport: ViewportSize) -> Page:
    """An empty page in this look, with axe in it."""
    context = browser.new_context(
        viewport=viewport,
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        has_touch=viewport is PHONE,
    )
    context.add_init_script(axe)
    return context.new_page()


def test_no_page_is_missed() -> None:
    assert rules() - BESIDES == set(ADDRESSES)


@pytest.mark.parametrize("rule", ADDRESSES)
def test_a_page_with_data_in_it_breaks_no_rule(
    browser: Browser, whole: Whole, axe: str, rule: str
) -> None:
    found: list[str] = []
    for theme, viewport in LOOKS:
        page = whole.open(look(browser, axe, theme, viewport), rule)
        for state in ("as it comes", "opened"):
            where = f"{theme}, {viewport['width']} px, {state}"
            found += [f"{where}: {wrong}" for wrong in violations(page)]
            page.evaluate(OPEN)
        page.context.close()
    assert found == []


def test_several_processes_are_told_by_the_same_rules(
    browser: Browser, whole: Whole, axe: str
) -> None:
    for theme, viewport in LOOKS:
        page = whole.open(as_several(look(browser, axe, theme, viewport)), "/operate")
        assert page.locator("#processes tbody tr").count() == len(PROCESSES)
        assert violations(page) == [], (theme, viewport)
        page.context.close()


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_not_there_is_said_by_the_same_rules(
    browser: Browser, whole: Whole, axe: str, name: str
) -> None:
    for theme, viewport in LOOKS:
        page = look(browser, axe, theme, viewport)
        answer = page.goto(whole.address(ERRORS[name]))
        assert answer is not None
        assert answer.status == 404
        assert violations(page) == [], (theme, viewport)
        page.context.close()


def test_axe_would_see_what_is_wrong(browser: Browser, whole: Whole, axe: str) -> None:
    page = whole.open(look(browser, axe, *LOOKS[0]), "/operate")
    page.evaluate("document.querySelector('#theme').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('#theme').removeAttribute('title')")

    found = violations(page)

    assert len(found) == 1
    assert found[0].startswith("button-name: 1: <button")
    page.context.close()
