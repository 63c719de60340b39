"""The key, the session and the cursor are seen by nobody: not in logs, status, errors, or anywhere
else that is shown.
"""

import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
import trio
from flowd_hydromancer import fills
from flowd_hydromancer.veil import Veil
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Secret, codec, unwrap
from tests.plugins.hydromancer_kit import (
    ACCEPTS,
    ALL,
    KEY,
    acknowledged,
    block,
    config,
    error,
    row,
)

SESSION, NEXT = "5e55-10n/+ &x", "another-5e55"
CURSOR = "502:1790000000002:3"
SECRETS = (KEY, quote(KEY, safe=""), "5e/cr", "5e%2Fcr", SESSION, quote(SESSION, safe=""), CURSOR)
WELCOME = json.dumps({"type": "connected", "sessionId": SESSION})
TELLTALE = f"for {KEY} ({quote(KEY)}), session {SESSION}, cursor {CURSOR}, token={quote(KEY)}&x"

BEGINS = testing.says(WELCOME) + testing.hears() + testing.says(acknowledged(), block(2, row(2)))


def shown_of(died: BaseException | None) -> list[str]:
    """All that could be shown of an error, and of what it came from."""
    texts: list[str] = []
    while died is not None:
        texts += [str(died), repr(died), *map(str, died.args)]
        if isinstance(died, BaseExceptionGroup):
            for inner in died.exceptions:
                texts += shown_of(inner)
        died = died.__cause__ or (None if died.__suppress_context__ else died.__context__)
    return texts


async def shown_by(
    caplog: pytest.LogCaptureFixture, *scripts: testing.Script, settings: Any = ALL
) -> list[str]:
    """All that a source shows in a while, restarted as often as it dies."""
    caplog.set_level(logging.DEBUG)
    feed = testing.feed(BEGINS + testing.drops(), *scripts)
    texts: list[str] = []
    with trio.move_on_after(4000):
        for _ in range(2):
            try:
                await fills(settings, feed)
            except* Exception as group:
                texts += shown_of(unwrap(group)) + shown_of(group)
    assert len(feed.upstream.urls) > 1, "the session was asked for"
    # The codec's own log, for who looks for bugs in it, has the words of close frames.
    records = [one for one in caplog.records if one.levelno > logging.DEBUG or "flowd" in one.name]
    texts += [record.getMessage() for record in records]
    texts += [repr(record.args) for record in records]
    texts += [json.dumps(feed.tally.dropped), repr(feed.tally), repr(settings)]
    texts += [repr(record) for table in feed.tables.values() for record in table.after(0)]
    texts += [codec.dumps(one).decode() for one in feed.values]
    return texts


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(testing.unreachable(), id="nobody there"),
        pytest.param(testing.hangs(), id="hanging dial"),
        pytest.param(testing.refuses(401), id="401"),
        pytest.param(testing.refuses(500), id="500"),
        pytest.param(testing.sends_garbage(), id="no handshake"),
        pytest.param(testing.says(error(f"authentication failed {TELLTALE}")), id="refusal"),
        pytest.param(testing.says(error(f"session gone {TELLTALE}")), id="session refused"),
        pytest.param(ACCEPTS + testing.says(error(f"odd {TELLTALE}")), id="error"),
        pytest.param(ACCEPTS + testing.says(error({"t": TELLTALE})), id="error object"),
        pytest.param(
            ACCEPTS + testing.says(error(TELLTALE)) + testing.closes(1011, KEY), id="goodbye"
        ),
        pytest.param(ACCEPTS + testing.closes(1008, f"bye {TELLTALE}"[:120]), id="close reason"),
        pytest.param(ACCEPTS + testing.says(TELLTALE), id="no JSON"),
        pytest.param(ACCEPTS + testing.says(json.dumps({"type": TELLTALE})), id="unknown"),
        pytest.param(ACCEPTS + testing.says(block(3, row(3))[:70]), id="cut off in the cursor"),
        pytest.param(
            ACCEPTS + testing.says(block(None, row(3, coin=KEY * 3, side="?"))), id="in a row"
        ),
        pytest.param(ACCEPTS + testing.says(block(None, [TELLTALE])), id="for a row"),
        pytest.param(
            ACCEPTS + testing.says(acknowledged(failed=[{"type": "allFills", "error": TELLTALE}])),
            id="failed subscription",
        ),
        pytest.param(ACCEPTS + testing.says(block(9, row(9))) + testing.falls_silent(), id="hole"),
    ],
)
async def test_no_secret_is_seen_whatever_the_service_says(
    script: testing.Script, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    texts = await shown_by(caplog, script)

    for text in texts:
        for secret in SECRETS:
            assert secret not in text


async def test_nor_with_the_key_in_a_message(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(login="message")
    said = testing.says(error(f"authentication failed {TELLTALE}"))

    texts = await shown_by(caplog, testing.hears() + said, settings=settings)

    assert not [text for text in texts for secret in SECRETS if secret in text]


async def test_a_daemons_status_shows_no_secret(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HYDROMANCER_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    text = """
    [sources.fills]
    kind = "hydromancer"
    subscription = "allFills"
    api_key = { env = "HYDROMANCER_API_KEY" }
    """
    upstream = testing.upstream(BEGINS + testing.drops(), testing.refuses(503))
    async with testing.daemon(text, dial=upstream.dial) as daemon:
        await trio.sleep(20)
        shown = [
            (await daemon.get(path)).body.decode()
            for path in ("/status", "/health", "/streams", "/streams/fills", "/metrics")
        ]
    shown += [record.getMessage() for record in caplog.records]

    assert "sessionId=" in upstream.urls[1]
    assert not [text for text in shown for secret in SECRETS if secret in text]


# -- the veil itself --


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"for {KEY}!", "for ***!"),
        (f"?token={quote(KEY)}&a=1", "?token=***&a=1"),
        ("?token=unknown-1&sessionId=2&cursor=3 x", "?token=***&sessionId=***&cursor=*** x"),
        ('{"cursor":"1:2:3","a":1}', '{"cursor":"***","a":1}'),
        ("{'sessionId': 'abc', 'b': 2}", "{'sessionId': '***', 'b': 2}"),
        ('{"apiKey": "ab\\"c", "b": 2}', '{"apiKey": "***", "b": 2}'),
        ("cursor 924885600:1710541070123:5 is gone", "cursor *** is gone"),
        (json.dumps(KEY), '"***"'),
        (repr(KEY), "'***'"),
        ("nothing of the kind at 12:30", "nothing of the kind at 12:30"),
    ],
)
def test_secrets_are_hidden_in_every_form(text: str, shown: str) -> None:
    assert Veil(KEY, list).hide(text) == shown


@given(st.text(min_size=4, max_size=30), st.text(max_size=40), st.integers(3950, 4050))
def test_no_part_of_a_secret_is_left_where_a_text_was_cut(key: str, end: str, length: int) -> None:
    text = "~" * length + key + end

    hidden = Veil(key, list).hide(text)

    assert key not in hidden
    assert hidden.strip("~*").startswith(end[:1]) or not hidden.strip("~*") or "~" in key


def test_a_sample_is_hidden_only_when_it_is_shown_and_however_deep_it_is() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert repr(Veil(KEY, list).sample({"a": KEY})) == "{'a': '***'}"
    assert repr(Veil(KEY, list).sample(deep)) == "list"


def test_the_key_of_these_tests_needs_quoting() -> None:
    assert quote(KEY, safe="") != KEY
    assert Secret("a test", KEY).reveal() == KEY
