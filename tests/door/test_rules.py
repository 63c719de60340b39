"""Which web pages may do more than read."""

import pytest

from flowd.door.head import parse_head
from flowd.door.rules import Rules
from flowd.values.errors import BadRequest, UserError


def ask(
    rules: Rules,
    method: str = "GET",
    *,
    host: str = "localhost:4200",
    origin: str = "",
    ws: int = 0,
) -> str:
    """The refusal's code and status, empty when there is none."""
    lines = [f"{method} / HTTP/1.1", f"Host: {host}", f"Origin: {origin}" if origin else "A: b"]
    lines += ["Upgrade: websocket"] if ws else []
    try:
        rules.check(parse_head("\r\n".join([*lines, "", ""]).encode()), "192.0.2.7")
    except BadRequest as error:
        return f"{error.code} {error.status}"
    return ""


def test_any_page_may_read() -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert ask(Rules(), method, origin="https://evil.example", host="rebound.example") == ""


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:5173", "null"])
def test_a_page_of_another_origin_gets_no_websocket_and_changes_nothing(origin: str) -> None:
    assert ask(Rules(), ws=1, origin=origin) == "FORBIDDEN_ORIGIN 403"
    assert ask(Rules(), "POST", origin=origin) == "FORBIDDEN_ORIGIN 403"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:4200", "localhost:4200"),
        ("http://LOCALHOST:4200", "Localhost:4200"),
        ("https://flow.example", "flow.example"),
        ("https://flow.example", "flow.example:443"),
        ("http://flow.example:80", "flow.example"),
    ],
)
def test_a_page_of_the_same_host_may(origin: str, host: str) -> None:
    assert ask(Rules(), ws=1, origin=origin, host=host) == ""


def test_who_is_no_browser_sends_no_origin_and_may() -> None:
    assert ask(Rules(), ws=1) == ""
    assert ask(Rules(), "POST") == ""


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "[::1]:4200", "[::1]", "192.0.2.7", "LocalHost"]
)
def test_what_changes_something_is_answered_under_our_own_names(host: str) -> None:
    assert ask(Rules(), "POST", host=host) == ""


@pytest.mark.parametrize("host", ["evil.example:4200", "192.0.2.8", "localhost.evil.example"])
def test_and_under_no_other(host: str) -> None:
    assert ask(Rules(), "POST", host=host) == "FORBIDDEN_HOST 403"
    assert ask(Rules(), "POST", host=host, origin=f"http://{host}") == "FORBIDDEN_HOST 403"


def test_what_is_allowed_is_allowed() -> None:
    rules = Rules.of(["https://Page.example"], ["flow.example"])

    assert ask(rules, ws=1, origin="https://page.example") == ""
    assert ask(rules, "POST", host="flow.example", origin="https://page.example") == ""
    assert ask(rules, ws=1, origin="https://evil.example") == "FORBIDDEN_ORIGIN 403"
    assert ask(Rules.of("*", "*"), "POST", host="x", origin="null") == ""


def test_what_is_no_origin_or_host_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(UserError, match=r"flowd\.allow_origins"):
        Rules.of(["page.example"], [])
    with pytest.raises(UserError, match=r"flowd\.allow_hosts"):
        Rules.of([], ["https://flow.example"])
