"""What pages of panels tell fits into the width that there is: no word of it is cut."""

import pytest
from playwright.sync_api import Browser

from tests.browser.whole import Whole

pytestmark = pytest.mark.browser

CUT = """
    [...document.querySelectorAll('.facts, .summary, .fact'),
    ...document.querySelectorAll('.table-area, .scroll, .grid :is(th, td)')]
        .filter((one) => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1)
        .map((one) => `${one.className} ${one.innerText}: ${one.scrollWidth} > ${one.clientWidth}`)
"""


@pytest.mark.parametrize(
    ("rule", "width"),
    [("/", 1280), ("/chart/<symbol>", 1280), ("/analytics", 1024), ("/operate", 1280)],
)
def test_nothing_is_cut(browser: Browser, whole: Whole, rule: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = whole.open(context.new_page(), rule)

    cut = page.evaluate(CUT)

    context.close()
    assert cut == []
