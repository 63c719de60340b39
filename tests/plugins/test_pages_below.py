"""The pages where a proxy has them below a path: nothing that they load or lead to is outside."""

import re
from pathlib import Path

import flowd_http
import flowd_pages
import flowd_websocket
import pytest

from flowd.testing import Answer, daemon, registry

HERE = Path(flowd_pages.__file__).parent
BASE = "/their/flowd"
CONFIG = f"""
[flowd]
base_path = "{BASE}"
[sinks.pages]
kind = "pages"
"""
ADDRESS = "0x" + "ab" * 20
PAGES = [
    *("/", "/chart/BTCUSDT", "/heatmap", "/all-fills", "/liquidations", "/analytics", "/traders"),
    *("/operate", f"/traders/{ADDRESS}", "/traders/nobody", "/chart/not one", "/no/such/page"),
]
BROWSER = {"accept": "text/html"}


async def get(*paths: str) -> list[Answer]:
    modules = registry(flowd_pages, flowd_http, flowd_websocket)
    async with daemon(CONFIG, registry=modules) as served:
        return [await served.get(path, BROWSER) for path in paths]


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_names_is_below_it(path: str) -> None:
    kept, taken = await get(BASE + path, path)

    html = kept.body.decode()
    assert taken.body == kept.body, "whether the proxy took it away makes no difference"
    assert f'<html lang="en" data-page="{page_of(html)}" data-base="{BASE}"' in html
    named = re.findall(r' (?:href|src|action|data-charts|data-traders)="(/[^"]*)"', html)
    assert len(named) > 10
    assert [address for address in named if not address.startswith(f"{BASE}/")] == []


def page_of(html: str) -> str:
    (name,) = re.findall(r'data-page="([^"]+)"', html)
    return str(name)


async def test_what_a_page_loads_is_there() -> None:
    (page,) = await get(BASE + "/chart")
    loaded = re.findall(r'(?:src|href)="([^"]*/assets/[^"]+)"', page.body.decode())

    assert len(loaded) > 5
    for answer in await get(*loaded):
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]


async def test_who_is_lost_is_told_the_address_that_was_asked_for() -> None:
    (answer,) = await get(BASE + "/no/such/page")

    assert answer.status == 404
    assert f"<code>{BASE}/no/such/page</code>" in answer.body.decode()


async def test_a_page_of_a_daemon_at_the_top_says_nothing_of_a_path() -> None:
    modules = registry(flowd_pages, flowd_http, flowd_websocket)
    async with daemon('[sinks.pages]\nkind = "pages"', registry=modules) as served:
        html = (await served.get("/")).body.decode()

    assert "data-base" not in html


# -- as it is written


def code_of(path: Path) -> str:
    """A module's code without its comments."""
    text = path.read_text("utf-8")
    return re.sub(r"/\*.*?\*/|(?<![:'\"`])//[^\n]*", "", text, flags=re.DOTALL)


SCRIPTS = sorted((HERE / "static").rglob("*.js"))
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
KNOW = ("at(", "ask(", "home(", "lastIndexOf(")
"""What is told a path of the daemon and finds out where that is; and what looks for one."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_writes_an_address_by_itself(path: Path) -> None:
    code = code_of(path)

    found = re.findall(r"(\S*)['\"`](/[a-z][^'\"`]*)['\"`]", code)
    assert [where for before, where in found if not before.endswith(KNOW)] == []
    # To keep the address as it is needs no knowing where it is.
    asked = re.findall(r"(\$\{)?location\.pathname", code)
    assert path.name == "dom.js" or all(asked)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_does(path: Path) -> None:
    assert re.findall(r'="(/[^"]*)"', path.read_text("utf-8")) == []
