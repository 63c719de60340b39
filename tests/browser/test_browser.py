"""A real browser at a real daemon: EventSource, WebSocket, clean restarts, crashes, other origins.

Playwright's synchronous interface turns a loop of its own in this thread, so the daemon is started
and stopped by a Trio in another.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from playwright.sync_api import Browser, Page

from tests.edge.exchange import Exchange
from tests.edge.process import Flowd

WAIT_S = 30.0

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


class House:
    """The daemon and its exchange, for tests that are not async."""

    def __init__(self, exchange: Exchange, daemon: Flowd) -> None:
        self.exchange = exchange
        self.daemon = daemon
        self._thread = ThreadPoolExecutor(1)

    def do(self, act: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run an async function to its end, in a Trio of its own."""
        return self._thread.submit(partial(trio.run, act, *arguments)).result(WAIT_S * 3)

    def start(self) -> None:
        """Start the daemon, on the same port as before."""
        self.do(self.daemon.start)
        self.daemon.settings["listen"] = f"127.0.0.1:{self.daemon.port}"
        self.daemon.write()

    def restart(self) -> None:
        """Stop in order, and start again."""
        self.do(self.daemon.stop)
        self.start()

    def crash(self) -> None:
        """kill -9, and start again."""
        self.do(self.daemon.kill)
        self.start()

    def lose_power(self) -> None:
        """As after the machine died: kill -9, nothing of the journal is left, and start again."""
        self.do(self.daemon.kill)
        for path in self.daemon.state.parent.glob(f"{self.daemon.state.name}.journal-*"):
            path.unlink()
        self.start()

    def say(self, count: int) -> None:
        """Let the exchange tell of forced orders, and wait until the daemon has them."""
        self.do(self.daemon.reached, self.exchange.say(count)[-1])

    @property
    def url(self) -> str:
        """The daemon's origin."""
        return f"http://127.0.0.1:{self.daemon.port}"

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A daemon that delivers."""
    with Exchange() as exchange, Flowd(tmp_path / "flowd", exchange.url) as daemon:
        house = House(exchange, daemon)
        house.start()
        yield house
        house.do(daemon.stop)
        house.close()


@pytest.fixture
def page(browser: Browser, house: House) -> Iterator[Page]:
    """A page of the daemon's own origin."""
    page = browser.new_page()
    page.set_default_timeout(WAIT_S * 1000)
    page.goto(f"{house.url}/health")
    yield page
    page.close()


# What a page keeps of each kind of connection: the records' prices (the nth order has the price n),
# and how often it heard the rest.
SCRIPT = """
    window.heard = {prices: [], opens: 0, resets: 0, gaps: 0, goodbyes: 0, firsts: 0, ids: []};
    window.note = (record) => heard.prices.push(Number(record.value.price));
    window.listen = (url) => {
        window.source = new EventSource(url);
        source.onopen = () => heard.opens++;
        source.onmessage = (event) => {
            heard.ids.push(event.lastEventId);
            note(JSON.parse(event.data));
        };
        source.addEventListener("reset", () => { heard.resets++; heard.prices = []; });
        source.addEventListener("gap", () => heard.gaps++);
        source.addEventListener("goodbye", () => heard.goodbyes++);
    };
    window.position = null;
    window.codes = [];
    window.follow = (url) => {
        const after = position === null ? "" : "&after=" + position;
        window.socket = new WebSocket(url + after);
        socket.onopen = () => heard.opens++;
        socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            if (message.type === "reset") heard.resets++;
            if (message.type === "gap") heard.gaps++;
            if (message.type === "records") {
                if (message.first) { heard.firsts++; heard.prices = []; }
                message.records.forEach(note);
            }
            if (message.position) position = message.position;
        };
        socket.onclose = (event) => {
            codes.push(event.code);
            setTimeout(() => follow(url), 200);
        };
    };
    null;  // Playwright would call a function that is the last value.
"""


def heard(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("heard")
    return found


def wait_for_prices(page: Page, last: int) -> list[int]:
    """Wait for the order with this number; all that were heard."""
    page.wait_for_function("last => heard.prices.at(-1) >= last", arg=last)
    prices: list[int] = heard(page)["prices"]
    return prices


def listen(page: Page, url: str, address: str = "/sse/orders") -> None:
    page.evaluate(SCRIPT)
    page.evaluate("url => listen(url)", url + address)
    page.wait_for_function("heard.opens === 1")


def follow(page: Page, url: str, address: str = "/ws?streams=orders") -> None:
    page.evaluate(SCRIPT)
    page.evaluate("url => follow(url)", url.replace("http", "ws", 1) + address)
    page.wait_for_function("heard.opens === 1")


def test_eventsource_hears_what_was_and_what_comes(page: Page, house: House) -> None:
    house.say(3)

    listen(page, house.url)
    house.say(3)

    assert wait_for_prices(page, 6) == [1, 2, 3, 4, 5, 6]
    ids = heard(page)["ids"]
    assert [int(id.partition(".")[2]) for id in ids] == [1, 2, 3, 4, 5, 6]


def test_eventsource_goes_on_by_itself_after_a_clean_restart(page: Page, house: House) -> None:
    house.say(5)
    listen(page, house.url)
    wait_for_prices(page, 5)

    house.restart()
    house.say(5)

    assert wait_for_prices(page, 10) == list(range(1, 11))
    found = heard(page)
    assert (found["goodbyes"], found["resets"], found["gaps"]) == (1, 0, 0)
    assert len({id.partition(".")[0] for id in found["ids"]}) == 1


def test_eventsource_misses_nothing_that_came_while_it_was_away(page: Page, house: House) -> None:
    listen(page, house.url)
    house.say(2)
    wait_for_prices(page, 2)

    page.context.set_offline(True)
    house.restart()
    house.say(5)
    page.context.set_offline(False)

    assert wait_for_prices(page, 7) == list(range(1, 8))


def test_eventsource_notices_nothing_of_a_crash(page: Page, house: House) -> None:
    house.say(3)
    listen(page, house.url)
    wait_for_prices(page, 3)

    house.crash()
    house.say(2)

    assert wait_for_prices(page, 5) == [1, 2, 3, 4, 5]
    assert (heard(page)["resets"], heard(page)["gaps"]) == (0, 0)


def test_eventsource_is_told_of_a_reset_after_the_machine_died(page: Page, house: House) -> None:
    house.say(3)
    listen(page, house.url)
    wait_for_prices(page, 3)

    house.lose_power()
    house.say(2)

    prices = wait_for_prices(page, 5)
    assert heard(page)["resets"] == 1
    assert prices[-2:] == [4, 5]
    assert prices == sorted(set(prices))


def test_websocket_hears_what_was_and_what_comes(page: Page, house: House) -> None:
    house.say(3)

    follow(page, house.url)
    house.say(3)

    assert wait_for_prices(page, 6) == [1, 2, 3, 4, 5, 6]
    assert page.evaluate("socket.extensions").startswith("permessage-deflate")


def test_websocket_goes_on_at_its_position_after_a_clean_restart(page: Page, house: House) -> None:
    house.say(5)
    follow(page, house.url)
    wait_for_prices(page, 5)

    house.restart()
    house.say(5)

    assert wait_for_prices(page, 10) == list(range(1, 11))
    found = heard(page)
    assert (found["firsts"], found["resets"], found["gaps"]) == (1, 0, 0)
    assert page.evaluate("codes")[0] == 1001


def test_websocket_notices_nothing_of_a_crash(page: Page, house: House) -> None:
    house.say(3)
    follow(page, house.url)
    wait_for_prices(page, 3)

    house.crash()
    house.say(2)

    assert wait_for_prices(page, 5) == [1, 2, 3, 4, 5]
    found = heard(page)
    assert (found["firsts"], found["resets"], found["gaps"]) == (1, 0, 0)
    assert page.evaluate("codes")[0] == 1006


def test_websocket_is_told_of_a_reset_after_the_machine_died(page: Page, house: House) -> None:
    house.say(3)
    follow(page, house.url)
    wait_for_prices(page, 3)

    house.lose_power()
    house.say(2)

    prices = wait_for_prices(page, 5)
    found = heard(page)
    assert found["resets"] == 1
    assert prices[-2:] == [4, 5]
    assert prices == sorted(set(prices))
    assert page.evaluate("codes")[0] == 1006


def test_websocket_subscribes_by_message_and_filters(page: Page, house: House) -> None:
    follow(page, house.url, "/ws?")
    page.evaluate(
        """socket.send(JSON.stringify({
            action: "subscribe", streams: ["orders"], filter: {symbol: "ETHUSDT"},
        }))"""
    )
    page.wait_for_function("heard.firsts === 1")

    house.exchange.say(2, "BTCUSDT")
    house.exchange.say(1, "ETHUSDT")
    house.exchange.say(1, "BTCUSDT")

    assert wait_for_prices(page, 3) == [3]


# -- another origin --


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A page from another port of this machine."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>elsewhere</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join(WAIT_S)


def test_a_page_from_elsewhere_may_listen(page: Page, house: House, elsewhere: str) -> None:
    page.goto(elsewhere)

    listen(page, house.url)
    house.say(2)

    assert wait_for_prices(page, 2) == [1, 2]


def test_a_page_from_elsewhere_may_poll(page: Page, house: House, elsewhere: str) -> None:
    house.say(2)
    page.goto(elsewhere)

    poll = "async url => (await fetch(url)).json()"
    first = page.evaluate(poll, f"{house.url}/streams/orders")
    again = page.evaluate(poll, f"{house.url}/streams/orders?after={first['position']}")
    health = page.evaluate(poll, f"{house.url}/health")
    refused = page.evaluate(poll, f"{house.url}/streams/nope")

    assert [record["seq"] for record in first["records"]] == [1, 2]
    assert (again["records"], again["position"]) == ([], first["position"])
    assert health["status"] == "ok"
    assert refused["error"]["code"] == "UNKNOWN_STREAM"


def test_a_page_from_elsewhere_gets_no_websocket(page: Page, house: House, elsewhere: str) -> None:
    page.goto(elsewhere)

    found = page.evaluate(
        """(url) => new Promise((tell) => {
            const socket = new WebSocket(url);
            socket.onopen = () => tell("open");
            socket.onclose = () => tell("refused");
        })""",
        f"{house.url.replace('http', 'ws', 1)}/ws?streams=orders",
    )

    assert found == "refused"
