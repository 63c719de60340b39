"""Servers that are no daemons, or daemons that break off: word for word, on loopback."""

import re
import time
from collections.abc import Callable

import pytest
from flowd_client import BadAddress, Refused

from .conftest import HEAD, STAY, Follower, Script

pytestmark = pytest.mark.edge

Make = Callable[..., Script]
Begin = Callable[..., Follower]


def record(seq: int) -> bytes:
    return b'id: e.%d\ndata: {"seq":%d,"time_ms":1,"value":"V"}\n\n' % (seq, seq)


def answer(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


def asked(server: Script) -> list[str]:
    """Where each connection began."""
    found = (re.search(r"after=(\S+)", request) for request in server.requests)
    return [match[1] if match else "" for match in found]


def test_an_answer_that_breaks_off_in_the_middle_is_gone_on_from_its_last_whole_record(
    begin: Begin, script: Make
) -> None:
    server = script(
        HEAD + record(1) + record(2) + record(3)[:30],
        HEAD + record(3) + b"event: gap\nid: e.9\ndata",
        HEAD + b'event: gap\nid: e.9\ndata: {"first":4,"last":9}\n\n' + record(10) + STAY,
    )

    found = begin(server.url).upto(10)

    assert [record.seq for batch in found for record in batch.records] == [1, 2, 3, 10]
    assert [batch.gap for batch in found if batch.gap] == [(4, 9)]
    assert asked(server) == ["", "e.2", "e.3"]


def test_garbage_is_not_believed_and_the_connection_made_again(begin: Begin, script: Make) -> None:
    server = script(
        b"\x00\xff\x00 what is HTTP?\r\n\r\n",
        HEAD + record(1) + b"id: e.2\ndata: {{{\n\n" + STAY,
        HEAD + record(1) + STAY,
        HEAD.replace(b"Connection: close", b"Content-Encoding: gzip") + b"not gzip",
        HEAD + record(2) + STAY,
    )
    follower = begin(server.url)

    found = follower.upto(2)

    assert [record.seq for batch in found for record in batch.records] == [1, 2]
    assert asked(server) == ["", "", "e.1", "e.1", "e.1"]
    reasons = " ".join(status.reason for status in follower.told)
    assert "e.1 came after e.1" in reasons


def test_a_server_that_is_not_there_yet_is_waited_for(begin: Begin, script: Make) -> None:
    server = script(b"", HEAD + record(1) + STAY)

    assert begin(server.url).wait().records[0].value == "V"


def test_silence_is_a_dead_connection(begin: Begin, script: Make) -> None:
    server = script(HEAD + record(1) + STAY, HEAD + record(2) + STAY)

    found = begin(server.url, silence_s=0.3).upto(2)

    assert [record.seq for batch in found for record in batch.records] == [1, 2]


def test_a_daemon_that_is_full_is_asked_again_when_it_says(begin: Begin, script: Make) -> None:
    body = '{"error": {"code": "TOO_MANY_CLIENTS", "message": "there are too many clients"}}'
    server = script(
        answer("503 Service Unavailable", "Retry-After: 1", body=body), HEAD + record(1) + STAY
    )
    began = time.monotonic()
    follower = begin(server.url)

    follower.wait()

    assert time.monotonic() - began >= 1.25
    assert "there are too many clients" in follower.told[0].reason


def test_what_answers_in_another_way_is_no_flowd(begin: Begin, script: Make) -> None:
    page = script(answer("200 OK", "Content-Type: text/html", body="<html>"))
    moved = script(answer("301 Moved", "Location: http://elsewhere.example/"))

    with pytest.raises(BadAddress, match="text/html"):
        begin(page.url).wait()
    with pytest.raises(Refused, match="give the address that it sends us to"):
        begin(moved.url).wait()


def test_a_token_is_sent_as_a_header_and_never_in_the_address(begin: Begin, script: Make) -> None:
    server = script(HEAD + record(1) + STAY)

    begin(server.url, token="secret").wait()

    head, _, rest = server.requests[0].partition("\r\n")
    assert "secret" not in head
    assert "authorization: bearer secret" in rest.lower()
