"""What each page weighs: the bytes, as they are sent, of all that it loads at first but data."""

from operator import itemgetter

import pytest
from playwright.sync_api import Browser, Response

from tests.browser.kit import DESKTOP
from tests.browser.whole import ADDRESSES, Whole

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

KINDS = ("text/html", "text/css", "text/javascript", "image/svg+xml")
BUDGET = {
    # Since when each venue of a sum is known, and the sums of each, came after the others.
    "/": 41_000,
    # So did the daemons beside this one, and what did not come from the one that it follows.
    "/operate": 39_500,
    # Alert lines on the daemon, any symbol, and bars with parts missing came after the others.
    "/chart/<symbol>": 127_000,
    "/heatmap/<symbol>": 61_500,
    "/all-fills": 49_000,
    "/liquidations": 49_000,
    "/analytics": 57_000,
    "/traders": 51_500,
    "/traders/<address>": 131_000,
}
"""In bytes: what each weighed when this was written, and a twentieth. Of the two that draw candles
62 KB are the chart library's. Who needs more says here why it is worth it to all who open the page.
"""


@pytest.mark.parametrize("rule", ADDRESSES)
def test_a_page_weighs_no_more_than_its_budget(browser: Browser, whole: Whole, rule: str) -> None:
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    whole.open(page, rule)

    parts = {
        answer.url: answer.request.sizes()["responseBodySize"]
        for answer in answers
        if answer.headers.get("content-type", "").partition(";")[0] in KINDS
    }
    context.close()
    weight = sum(parts.values())
    assert len(parts) > 10
    assert weight <= BUDGET[rule], f"{weight} bytes: {sorted(parts.items(), key=itemgetter(1))}"
