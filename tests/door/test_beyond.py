"""What another process of the daemon answers: which requests, and as what they are passed on."""

from pathlib import Path

import pytest

from flowd.door.beyond import Beyond, passed_on
from flowd.door.head import parse_head

BEYOND = Beyond(Path("/run/flowd/ingest.sock"))


def head(method: str, *lines: str) -> bytes:
    first = f"{method} /streams/orders/history?limit=5 HTTP/1.1"
    return "\r\n".join((first, "Host: flow.example.org", *lines, "", "")).encode()


@pytest.mark.parametrize(
    ("method", "here", "goes"),
    [
        ("GET", ["GET", "HEAD"], False),
        ("HEAD", ["GET", "HEAD"], False),
        ("GET", [], True),
        ("GET", ["POST"], True),
        ("POST", ["GET", "POST"], True),
        ("OPTIONS", ["GET"], True),
    ],
)
def test_whatever_changes_something_or_nobody_reads_here_goes_there(
    method: str, here: list[str], goes: bool
) -> None:
    assert BEYOND.wants(parse_head(head(method)), here) is goes


def test_a_request_is_passed_on_for_its_client_and_by_itself() -> None:
    asked = head("GET", "Connection: keep-alive", "Authorization: Bearer t", "X-Forwarded-For: 9")

    assert passed_on(parse_head(asked), "192.0.2.7") == head(
        "GET", "Authorization: Bearer t", "X-Forwarded-For: 192.0.2.7", "Connection: close"
    )


def test_a_websocket_still_becomes_one() -> None:
    asked = head("GET", "Connection: Upgrade", "Upgrade: websocket")

    assert passed_on(parse_head(asked), "192.0.2.7") == head(
        "GET", "Connection: Upgrade", "Upgrade: websocket", "X-Forwarded-For: 192.0.2.7"
    )
