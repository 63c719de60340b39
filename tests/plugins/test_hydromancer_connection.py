"""One connection to Hydromancer after the other: login, subscription, resumption, holes, refusals,
and the end of each.
"""

import json
from typing import Any

import pytest
import trio
from flowd_hydromancer import Config, fills
from flowd_hydromancer.frames import decode
from flowd_hydromancer.place import Sequence
from flowd_hydromancer.refusal import kind_of, names
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Secret, UpstreamError, UpstreamSilent, UserError
from tests.plugins.hydromancer_kit import (
    ACCEPTS,
    ACCEPTS_LIQUIDATIONS,
    ALL,
    CONNECTED,
    KEY,
    LIQUIDATIONS,
    RECONNECTED,
    URL,
    WHALE,
    acknowledged,
    block,
    config,
    cursor,
    error,
    failure,
    frames,
    replay,
    row,
)

Nursery = trio.Nursery
TOKEN = "token=hm-5e%2Fcr%2Bet%20key%260451"

RESUMES = testing.says(RECONNECTED)


def numbers(feed: Any) -> list[int]:
    """The numbers of the rows that were published."""
    return [int(one.id.split(":")[3]) - 1000 for one in feed.values]


def pings(every_s: float = 60) -> testing.Script:
    """What the service says while nothing happens."""

    async def play(connection: testing.Connection) -> None:
        while True:
            await trio.sleep(every_s)
            await connection.say('{"type":"ping"}')

    return testing.plays(play)


# -- login and subscription --


async def test_the_key_is_in_the_address_and_the_subscription_follows_the_welcome(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(testing.waits(3) + ACCEPTS)
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(2)
    before = feed.upstream.heard
    await trio.sleep(2)

    assert feed.upstream.urls == [f"{URL}?{TOKEN}"]
    assert before == []
    assert feed.upstream.heard == ['{"type":"subscribe","subscription":{"type":"allFills"}}']
    nursery.cancel_scope.cancel()


async def test_the_key_can_be_told_in_a_message_instead(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(testing.hears() + ACCEPTS)
    nursery.start_soon(fills, config(login="message"), feed)

    await trio.sleep(1)

    assert feed.upstream.urls == [URL]
    login, subscription = map(json.loads, feed.upstream.heard)
    assert login == {"type": "auth", "apiKey": KEY}
    assert subscription["subscription"] == {"type": "allFills"}
    nursery.cancel_scope.cancel()


async def test_chunks_are_asked_for_only_if_wanted(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS)
    nursery.start_soon(fills, config(chunked=True), feed)

    await trio.sleep(1)

    assert feed.upstream.urls == [f"{URL}?{TOKEN}&liveFormat=chunked-v1"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        *(pytest.param(text, id=text[:60]) for text in frames("hydromancer_documented")[5:6]),
        '{"type":"subscriptionUpdate","subscribed":[{"type":"allFills"}]}',
        '{"type":"subscriptionUpdate","subscribed":[{"subscription":{"type":"allFills"}}]}',
        '{"type":"subscriptionUpdate","subscribed":"allFills","failed":null}',
        block(1, row()),
    ],
)
async def test_it_delivers_once_the_subscription_is_acknowledged_or_data_comes(
    answer: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(
        testing.says(CONNECTED) + testing.hears() + testing.waits(2) + testing.says(answer)
    )
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(1)
    before = feed.tally.delivering
    await trio.sleep(2)

    assert (before, feed.tally.delivering) == (False, True)
    nursery.cancel_scope.cancel()


async def test_an_acknowledgement_of_another_feed_proves_nothing(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    other = acknowledged("liquidationFills")
    feed = testing.feed(testing.says(CONNECTED) + testing.hears() + testing.says(other))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(1)

    assert not feed.tally.delivering
    nursery.cancel_scope.cancel()


async def test_a_service_that_does_not_welcome_is_given_up(autojump_clock: MockClock) -> None:
    died = await failure(ALL, testing.feed(testing.waits(1)))

    assert isinstance(died, UpstreamError)
    assert "not welcomed within 10s" in str(died)
    assert trio.current_time() == pytest.approx(10)


async def test_a_key_that_is_not_there_is_said_without_dialling(autojump_clock: MockClock) -> None:
    feed = testing.feed(ACCEPTS)
    nowhere = Secret("environment variable HYDROMANCER_API_KEY")

    with pytest.raises(UserError, match="environment variable HYDROMANCER_API_KEY is not set"):
        await fills(Config("allFills", nowhere), feed)

    assert feed.upstream.urls == []


# -- messages --


async def test_rows_are_published_in_their_order_and_summed(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    said = [block(1, row(1), row(2)), block(2, row(3, px="100.5", sz="2"))]
    feed = testing.feed(ACCEPTS + testing.says(*said))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(1)

    assert numbers(feed) == [1, 2, 3]
    total = feed.tables["totals"].get("total")
    assert (str(total.volume), total.count, total.since_ms) == ("84701", 3, testing.START_MS)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "forms", [{"type": None}, {"channel": None}, {"type": "allFills", "channel": "allFills"}]
)
async def test_messages_are_known_by_their_type_or_their_channel(
    forms: dict[str, Any], autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS + testing.says(block(1, row(1), **forms)))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(1)

    assert numbers(feed) == [1]
    nursery.cancel_scope.cancel()


async def test_pings_are_answered_and_ours_go_out_every_half_minute(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS_LIQUIDATIONS + pings(70))
    nursery.start_soon(fills, LIQUIDATIONS, feed)

    await trio.sleep(145)

    said = [json.loads(text)["type"] for text in feed.upstream.heard]
    assert said == ["subscribe", "ping", "ping", "pong", "ping", "ping", "pong"]
    assert feed.tally.connections == 1
    nursery.cancel_scope.cancel()


async def test_parts_of_a_block_are_published_as_they_come(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    said = [
        block(n, row(n), chunk=n, totalChunks=3, batchId=7, cursor=cursor(9)) for n in (1, 2, 3)
    ]
    feed = testing.feed(
        ACCEPTS + testing.says(said[0]) + testing.waits(1) + testing.says(*said[1:])
    )
    nursery.start_soon(fills, config(chunked=True), feed)

    await trio.sleep(0.5)
    first = numbers(feed)
    await trio.sleep(1)

    assert (first, numbers(feed)) == ([1], [1, 2, 3])
    assert feed.tally.dropped == {}
    nursery.cancel_scope.cancel()


async def test_a_large_block_lets_others_run_meanwhile(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS + testing.says(block(1, *(row(n) for n in range(1000)))))
    seen: list[int] = []

    async def watch() -> None:
        while True:
            await feed.stream.news(feed.stream.seq)
            seen.append(feed.stream.seq)

    nursery.start_soon(watch)
    nursery.start_soon(fills, ALL, feed)
    await trio.sleep(1)

    assert numbers(feed) == list(range(1000))
    assert len(seen) >= 5
    assert feed.tables["totals"].get("total").count == 1000
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html>", "not JSON"),
        ("[]", "not an object"),
        ("{}", "unknown message"),
        ('{"type":"brandNew"}', "unknown message"),
        ('{"type":"liquidationFills","fills":[]}', "unknown message"),
        (block(None, row(px="NaN")), "bad number"),
        ('{"type":"replay","channel":"liquidationFills","data":[]}', "not asked for"),
        (CONNECTED, "welcomed twice"),
        (error("something odd"), "error from upstream"),
        (error({"deep": [1]}), "error from upstream"),
        (error("x" * 100_000), "error from upstream"),
        (error(None), "error from upstream"),
    ],
)
async def test_what_cannot_be_used_is_counted_and_ends_nothing(
    text: str, reason: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS + testing.says(text, block(1, row(1))))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(1)

    assert feed.tally.dropped == {reason: 1}
    assert numbers(feed) == [1]
    nursery.cancel_scope.cancel()


# -- silence --


async def test_quiet_hours_of_liquidations_are_no_reason_to_reconnect(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS_LIQUIDATIONS + pings())
    nursery.start_soon(fills, LIQUIDATIONS, feed)

    await trio.sleep(3 * 3600)

    assert feed.tally.connections == 1
    assert feed.tally.delivering
    nursery.cancel_scope.cancel()


async def test_a_service_that_only_answers_our_pings_lives_too(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    pongs = testing.answers(lambda text: '{"type":"pong"}' if "ping" in text else None)
    feed = testing.feed(ACCEPTS_LIQUIDATIONS + pongs)
    nursery.start_soon(fills, LIQUIDATIONS, feed)

    await trio.sleep(3600)

    assert feed.tally.connections == 1
    nursery.cancel_scope.cancel()


async def test_silence_is_a_dead_upstream_though_the_codec_answers_pings(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(ACCEPTS_LIQUIDATIONS)

    died = await failure(LIQUIDATIONS, feed)

    assert isinstance(died, UpstreamSilent)
    assert "upstream silent for 95s" in str(died)
    assert trio.current_time() == pytest.approx(95)


async def test_all_fills_without_a_fill_are_a_dead_feed_though_the_service_speaks(
    autojump_clock: MockClock,
) -> None:
    died = await failure(ALL, testing.feed(ACCEPTS + pings()))

    assert isinstance(died, UpstreamSilent)
    assert "no fills for 95s" in str(died)


async def test_a_few_coins_may_be_silent_for_long(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS + pings())
    nursery.start_soon(fills, config(coins=["PURR/USDC"]), feed)

    await trio.sleep(3600)

    assert feed.tally.connections == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (testing.unreachable(), "cannot connect: nobody there"),
        (testing.refuses(503), "refused with HTTP 503"),
        (testing.hangs(), "no answer within 10s"),
        (ACCEPTS + testing.drops(), "connection lost"),
        (ACCEPTS + testing.closes(1001, "going away"), "closed by upstream with 1001 going away"),
        (ACCEPTS + testing.sends_garbage(), "closed by upstream with 1002"),
        (
            ACCEPTS + testing.says(error("internal trouble")) + testing.closes(1011),
            "it said: internal trouble",
        ),
    ],
)
async def test_every_end_of_a_connection_is_weather_and_says_what_happened(
    script: testing.Script, words: str, autojump_clock: MockClock
) -> None:
    feed = testing.feed(script)

    died = await failure(ALL, feed)

    assert isinstance(died, UpstreamError)
    assert words in str(died)
    assert feed.tally.open == 0
    assert not feed.tally.delivering


# -- coming back --


async def again(feed: Any, settings: Any = ALL, seconds: float = 30) -> None:
    """Run the source as the supervisor does, for so long."""
    with trio.move_on_after(seconds):
        while True:
            try:
                await fills(settings, feed)
            except* UpstreamError:
                await trio.sleep(5)


async def test_it_comes_back_with_session_and_cursor_and_each_row_is_there_once(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1)), block(2, row(2))) + testing.drops(),
        RESUMES + testing.says(replay(row(2), row(3)), block(1, row(3), row(4))),
    )

    await again(feed)

    _, second = feed.upstream.urls
    assert second == f"{URL}?{TOKEN}&sessionId=session-0001&cursor=502%3A1790000000002%3A3"
    assert feed.upstream.connections[1].heard[:1] != ["subscribe"], "the session remembers"
    assert not any("subscribe" in text for text in feed.upstream.connections[1].heard)
    assert numbers(feed) == [1, 2, 3, 4]
    assert feed.tables["totals"].get("total").count == 4
    assert feed.tally.duplicates == 2
    assert feed.tally.delivering is False or feed.tally.open == 0


async def test_a_replay_can_be_a_header_for_ordinary_messages_with_old_numbers(
    autojump_clock: MockClock,
) -> None:
    header = json.dumps({"type": "replay", "channel": "allFills", "count": 2, "hasGap": False})
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(),
        RESUMES + testing.says(header, block(57, row(2)), block(1, row(4)), block(58, row(3))),
    )

    await again(feed)

    assert numbers(feed) == [1, 2, 4, 3]
    assert feed.tally.dropped == {}


HEADER = json.dumps({"type": "replay", "channel": "allFills", "count": 2, "hasGap": False})


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ([replay(row(2), row(3))], 2),
        ([replay()], 0),
        ([replay(row(3), hasGap=True)], None),
        ([HEADER, block(57, row(2)), block(1, row(4)), block(58, row(3))], 3),
        ([HEADER, block(57, row(2))], None),
    ],
)
async def test_an_outage_is_recovered_when_the_replay_is_whole(
    autojump_clock: MockClock, said: list[str], count: int | None
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.waits(1) + testing.drops(),
        RESUMES + testing.says(*said),
    )
    before: list[int | None] = []

    async def end() -> None:
        await trio.sleep(3)
        before.append(feed.ends_ms)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        await again(feed)
        nursery.cancel_scope.cancel()

    expected = [] if count is None else [(before[0], testing.START_MS + 6_000, count)]
    assert feed.recoveries == expected


async def test_quiet_hours_are_no_outage_since_pongs_say_how_far_the_data_reaches(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    pongs = testing.answers(lambda text: '{"type":"pong"}' if "ping" in text else None)
    feed = testing.feed(pongs + ACCEPTS)
    nursery.start_soon(fills, LIQUIDATIONS, feed)

    await trio.sleep(605)

    assert feed.ends_ms is not None
    assert feed.ends_ms >= testing.START_MS + 560_000
    nursery.cancel_scope.cancel()


async def test_a_hole_after_a_replay_that_is_numbered_on_is_seen(
    autojump_clock: MockClock,
) -> None:
    header = json.dumps({"type": "replay", "channel": "allFills", "count": 2, "hasGap": False})
    said = [header, *(block(n, row(n + 1)) for n in (1, 2, 3, 6))]
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(),
        RESUMES + testing.says(*said),
        RESUMES + testing.says(replay(row(5), row(6), row(7))),
    )

    await again(feed)

    assert feed.tally.dropped == {"hole in seq": 1}
    assert sorted(numbers(feed)) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_plain_welcome_means_to_subscribe_again(autojump_clock: MockClock) -> None:
    fresh = '{"type":"connected","sessionId":"session-0002"}'
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(),
        testing.says(fresh) + testing.hears() + testing.says(acknowledged()) + testing.drops(),
        RESUMES,
    )

    await again(feed)

    assert "subscribe" in feed.upstream.connections[1].heard[0]
    assert feed.upstream.urls[2] == f"{URL}?{TOKEN}&sessionId=session-0002", "and no cursor"


async def test_a_source_that_was_stopped_goes_on_from_its_table(autojump_clock: MockClock) -> None:
    feed = testing.feed(ACCEPTS + testing.says(block(1, row(1))), RESUMES)

    await again(feed, seconds=3)
    await again(feed, seconds=3)

    assert "sessionId=session-0001&cursor=501" in feed.upstream.urls[1]


@pytest.mark.parametrize(
    "other", [config(dex="main"), config(url="wss://api-testnet.hydromancer.xyz/ws"), LIQUIDATIONS]
)
async def test_a_session_belongs_to_its_subscription_and_its_address(
    other: Any, autojump_clock: MockClock
) -> None:
    feed = testing.feed(ACCEPTS + testing.says(block(1, row(1))), ACCEPTS)

    await again(feed, seconds=3)
    await again(feed, other, seconds=3)

    assert "sessionId" not in feed.upstream.urls[1]


@pytest.mark.parametrize("odd", ["\ud800", "x" * 100_000, "", "a\x00b"])
async def test_a_session_or_cursor_that_nobody_could_ask_for_is_not_kept(
    odd: str, autojump_clock: MockClock
) -> None:
    welcome = json.dumps({"type": "connected", "sessionId": odd})
    said = block(1, row(1))
    first = testing.says(welcome) + testing.hears() + testing.says(said) + testing.drops()
    second = ACCEPTS + testing.says(block(1, row(2), cursor=odd)) + testing.drops()
    feed = testing.feed(first, second, RESUMES)

    await again(feed)

    assert feed.upstream.urls[1] == f"{URL}?{TOKEN}"
    assert feed.upstream.urls[2] == f"{URL}?{TOKEN}&sessionId=session-0001"
    assert numbers(feed) == [1, 2]


async def test_a_gap_in_a_replay_is_counted(autojump_clock: MockClock) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(),
        RESUMES + testing.says(replay(row(5), hasGap=True)),
    )

    await again(feed)

    assert feed.tally.dropped == {"gap in replay": 1}
    assert numbers(feed) == [1, 5]


async def test_live_messages_that_outrun_the_replay_do_not_move_the_cursor_past_it(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(),
        RESUMES + testing.says(block(1, row(9), cursor="900:1790000000900:0")) + testing.drops(),
        RESUMES + testing.says(replay(row(2), row(9), cursor="900:1790000000900:0")),
    )

    await again(feed)

    assert "cursor=501%3A" in feed.upstream.urls[2], "what lies between was not replayed yet"
    assert sorted(numbers(feed)) == [1, 2, 9]


@pytest.mark.parametrize(
    "refusal",
    [
        testing.says(error("session expired")) + testing.closes(1008),
        testing.says(error("something went wrong")) + testing.closes(1008),
        testing.says(error("authentication failed")),
        testing.closes(4004, "no such session"),
        testing.refuses(410),
        testing.refuses(401),
    ],
)
async def test_a_session_that_is_refused_is_forgotten_and_a_fresh_one_begun_at_once(
    refusal: testing.Script, autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.waits(1) + testing.drops(),
        refusal,
        ACCEPTS + testing.says(block(1, row(2))) + testing.waits(60),
    )
    nursery.start_soon(again, feed)

    await trio.sleep(6.5)

    assert len(feed.upstream.urls) == 3
    assert "sessionId" in feed.upstream.urls[1]
    assert "sessionId" not in feed.upstream.urls[2]
    assert numbers(feed) == [1, 2]
    nursery.cancel_scope.cancel()


async def test_a_session_that_never_comes_to_life_again_is_given_up(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1))) + testing.drops(), testing.closes(1001)
    )

    await again(feed, seconds=100)

    asked = ["sessionId" in url for url in feed.upstream.urls]
    assert asked[:13] == [False, *[True] * 10, False, False]


# -- holes --


async def test_a_hole_is_mended_at_once_by_another_connection_with_the_cursor_of_before(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(
        ACCEPTS + testing.says(block(1, row(1)), block(2, row(2)), block(5, row(5))),
        RESUMES + testing.says(replay(row(3), row(4), row(5)), block(1, row(6))),
    )
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(0.5)

    assert "cursor=502%3A" in feed.upstream.urls[1]
    assert numbers(feed) == [1, 2, 5, 3, 4, 6]
    assert feed.tally.dropped == {"hole in seq": 1}
    assert feed.tally.open == 1
    nursery.cancel_scope.cancel()


async def test_holes_are_mended_once_a_minute_and_only_counted_between(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    async def leaky(connection: testing.Connection) -> None:
        """Loses every other message."""
        for number in range(1, 400, 2):
            await connection.say(block(number, row(number)))
            await trio.sleep(1)

    feed = testing.feed(ACCEPTS + testing.plays(leaky), RESUMES + testing.plays(leaky))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(150)

    assert 3 <= len(feed.upstream.urls) <= 4
    assert feed.tally.dropped["hole in seq"] > 100
    nursery.cancel_scope.cancel()


async def test_a_hole_that_nobody_can_mend_is_counted_and_no_more(
    autojump_clock: MockClock, nursery: Nursery
) -> None:
    anonymous = '{"type":"connected"}'
    feed = testing.feed(testing.says(anonymous, block(1, row(1)), block(3, row(3))))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(10)

    assert len(feed.upstream.urls) == 1
    assert feed.tally.dropped == {"hole in seq": 1}
    nursery.cancel_scope.cancel()


def missing(*said: tuple[int | None, int | None, int | None]) -> list[int]:
    """What is missing before messages, given as (seq, chunk, batch); blocks have three parts."""
    sequence, found = Sequence(), []
    for seq, chunk, batch in said:
        parts = None if chunk is None else 3
        frame, _ = decode(block(seq, chunk=chunk, totalChunks=parts, batchId=batch))
        found.append(sequence.missing(frame))
    return found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param([(1,), (2,), (3,)], [0, 0, 0], id="whole"),
        pytest.param([(1,), (4,)], [0, 2], id="hole"),
        pytest.param([(3,)], [2], id="hole at the start"),
        pytest.param([(1,), (1,), (2,), (2,), (3,)], [0] * 5, id="repeated"),
        pytest.param([(1,), (2,), (1,), (2,)], [0] * 4, id="numbered anew"),
        pytest.param([(None,), (None,)], [0, 0], id="without numbers"),
        pytest.param([(1, 1, 7), (2, 2, 7), (3, 3, 7), (4,)], [0] * 4, id="parts"),
        pytest.param([(1, 1, 7), (1, 2, 7), (1, 3, 7), (2,)], [0] * 4, id="parts of one number"),
        pytest.param([(1, 1, 7), (1, 3, 7), (2,)], [0, 1, 0], id="a part is missing"),
        pytest.param([(1, 1, 7), (2,)], [0, 2], id="the last parts are missing"),
        pytest.param([(1, 2, 7)], [1], id="the first part is missing"),
        pytest.param([(1, 1, 7), (1, 1, 7), (1, 2, 7)], [0, 0, 0], id="a part is repeated"),
        pytest.param([(1, 1, 7), (2, 1, 8)], [0, 2], id="another block begins too early"),
    ],
)
def test_what_is_missing_is_seen_by_the_numbers(said: list[Any], found: list[int]) -> None:
    padded = [(*one, None, None)[:3] for one in said]

    assert missing(*padded) == found


# -- refusals --


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Rate limit exceeded", "limit"),
        ("message rate limit exceeded", "limit"),
        ("connection limit reached", "limit"),
        ("connection limit exceeded", "limit"),
        ("total subscription limit reached", "limit"),
        ("subscription limit reached for liquidationFills", "limit"),
        ("subscription_limit_exceeded", "limit"),
        ("Too many subscriptions", "limit"),
        ("requires permission ws:allFills", "permission"),
        ("permission limit reached", "permission"),
        ("Authentication failed", "permission"),
        ("authentication timeout", "permission"),
        ("Invalid API key", "permission"),
        ("too many coins", "subscription"),
        ("entity limit reached", "subscription"),
        ("allFills is not available for tier Starter", "subscription"),
        ("unknown subscription type", "subscription"),
        ("hello", None),
    ],
)
def test_errors_are_known_by_their_words(text: str, kind: str | None) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    ("script", "kind", "pause_s"),
    [
        (testing.refuses(401), "permission", 3600),
        (testing.refuses(403), "permission", 3600),
        (testing.refuses(429), "limit", 300),
        (testing.says(error("authentication failed")), "permission", 3600),
        (testing.says(error("connection limit reached")), "limit", 300),
        (testing.closes(1008, "connection limit exceeded"), "limit", 300),
        (
            testing.says(CONNECTED) + testing.hears() + testing.says(error("requires permission")),
            "permission",
            3600,
        ),
        (
            testing.says(CONNECTED)
            + testing.hears()
            + testing.says(error("x", code="subscription_limit_exceeded", subscription="allFills")),
            "limit",
            300,
        ),
        (
            testing.says(CONNECTED)
            + testing.hears()
            + testing.says(acknowledged(failed=["allFills"])),
            "subscription",
            3600,
        ),
        (
            testing.says(CONNECTED)
            + testing.hears()
            + testing.says(acknowledged(failed=["allFills"]))
            + testing.waits(0.5)
            + testing.says(error("subscription limit reached for allFills")),
            "limit",
            300,
        ),
        (
            testing.says(CONNECTED)
            + testing.hears()
            + testing.says(
                error("odd words"), acknowledged(failed=[{"type": "allFills", "error": "no"}])
            ),
            "subscription",
            3600,
        ),
        (
            testing.says(CONNECTED)
            + testing.hears()
            + testing.says(
                acknowledged(failed=[{"type": "allFills", "reason": "requires permission x"}])
            ),
            "permission",
            3600,
        ),
        (ACCEPTS + testing.says(error("requires permission ws:allFills")), "permission", 3600),
    ],
)
async def test_a_feed_that_is_refused_is_not_asked_for_again_for_long(
    script: testing.Script,
    kind: str,
    pause_s: float,
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(script)

    died = await failure(ALL, feed)

    assert isinstance(died, UpstreamError)
    assert died.retry_s == pause_s
    assert str(died).startswith(f"Hydromancer refuses ({kind}): ")
    assert len(feed.upstream.urls) == 1
    assert trio.current_time() < 5
    assert feed.tally.dropped[f"refused ({kind})"] == 1
    assert feed.tally.open == 0


@pytest.mark.parametrize(
    "trouble",
    [
        error("message rate limit exceeded"),
        error("subscription limit reached for liquidationFills", subscription="liquidationFills"),
        error("requires permission ws:other", subscription={"type": "liquidationFills"}),
        acknowledged(failed=["liquidationFills"]),
    ],
)
async def test_trouble_that_does_not_concern_a_feed_leaves_it_alone(
    trouble: str, autojump_clock: MockClock, nursery: Nursery
) -> None:
    feed = testing.feed(ACCEPTS + testing.says(trouble, block(1, row(1))))
    nursery.start_soon(fills, ALL, feed)

    await trio.sleep(5)

    assert numbers(feed) == [1]
    assert feed.tally.open == 1
    nursery.cancel_scope.cancel()


def test_names_are_found_in_every_form_of_a_list() -> None:
    entries = ["a", {"type": "b"}, {"subscription": "c"}, {"subscription": {"type": "d"}}]

    assert names([*entries, 5, None, [], {}, {"type": 5}]) == {"a", "b", "c", "d"}
    assert names(None) == set()


# -- each row once --

ROWS = 12


@st.composite
def lives(draw: st.DrawFn) -> list[list[list[int]]]:
    """Connections, each with its messages, each with the numbers of its rows: every message goes on
    from any earlier row, so that they overlap, and together they have all rows.
    """
    connections, reached = [], 0
    while reached < ROWS:
        messages = []
        for _ in range(draw(st.integers(1, 4))):
            first = draw(st.integers(0, reached))
            last = draw(st.integers(first, min(first + 5, ROWS)))
            messages.append(list(range(first, last)))
            reached = max(reached, last)
        connections.append(messages)
        if len(connections) >= 4 and reached < ROWS:
            connections[-1].append(list(range(reached, ROWS)))
            reached = ROWS
    return connections


@settings(max_examples=60)
@given(lives(), st.randoms(use_true_random=False))
def test_however_live_and_replayed_messages_mix_each_row_is_there_once(
    connections: list[list[list[int]]], random: Any
) -> None:
    scripts = []
    for index, messages in enumerate(connections):
        said, seq = [], 0
        for rows in map(lambda numbers: [row(n) for n in numbers], messages):
            if index and random.random() < 0.5:
                said.append(replay(*rows))
            else:
                seq += 1
                said.append(block(seq, *rows))
        begins = ACCEPTS if not index else RESUMES
        scripts.append(begins + testing.says(*said) + testing.waits(0.1) + testing.drops())
    scripts[-1] = testing.Script(scripts[-1].plays[:-1])

    async def receive() -> None:
        feed = testing.feed(*scripts)
        await again(feed, seconds=60)
        assert sorted(numbers(feed)) == list(range(ROWS))
        total = feed.tables["totals"].get("total")
        assert total.count == ROWS
        assert total.volume == sum(one.notional for one in feed.values)
        assert feed.tally.dropped == {}

    trio.run(receive, clock=MockClock(autojump_threshold=0))


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.binary(max_size=30),
            st.builds(
                lambda kind, more: json.dumps({"type": kind} | more),
                st.sampled_from(
                    [
                        *("allFills", "replay", "ping", "pong", "connected", "reconnected"),
                        *("subscriptionUpdate", "error", "welcome", "x"),
                    ]
                ),
                st.dictionaries(
                    st.sampled_from(
                        [
                            *("channel", "fills", "data", "seq", "count", "chunk", "batchId"),
                            *("message", "failed", "subscribed", "subscription", "sessionId"),
                        ]
                    ),
                    st.one_of(
                        st.none(),
                        st.integers(),
                        st.text(max_size=5),
                        st.just("allFills"),
                        st.lists(st.sampled_from([row(), 5, "allFills", {"type": "allFills"}])),
                        st.dictionaries(st.just("type"), st.one_of(st.integers(), st.text())),
                    ),
                ),
            ),
        ),
        max_size=6,
    )
)
def test_nothing_that_is_said_is_a_bug(texts: list[str | bytes]) -> None:
    async def receive() -> None:
        feed = testing.feed(ACCEPTS + testing.says(*texts) + testing.waits(3) + testing.drops())
        died = await failure(ALL, feed)
        assert isinstance(died, UpstreamError), repr(died)
        assert {one.address for one in feed.values} <= {WHALE}

    trio.run(receive, clock=MockClock(autojump_threshold=0))
