"""One writer for all live clients of a stream: shared bytes, and no queue for who is slow."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.channel import packing
from flowd.channel.audience import NAMES_MAX, Audience
from flowd.channel.channel import CHUNK_BYTES, CHUNK_RECORDS, PACE_CLIENTS, Encode, Warn
from flowd.channel.channels import FILTERED_MAX, FILTERED_PER_ADDRESS, Channels
from flowd.channel.client import AT_ONCE, PLACES_MAX, URGENT_MAX, Client
from flowd.stream import seek
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.testing import FakeSocket
from flowd.values import filters
from flowd.values.errors import BadRequest
from flowd.values.limits import Limits
from flowd.values.record import Batch, Gap, Position


@frozen
class Tick:
    symbol: str = "BTC"
    price: int = 0
    note: str = ""


def lines(batch: Batch[Any]) -> bytes:
    """A batch as one line that says all there is to it."""
    gap = None if batch.gap is None else [batch.gap.first, batch.gap.last]
    said = {
        "stream": batch.stream,
        "seqs": [record.seq for record in batch.records],
        "notes": [record.value.note for record in batch.records],
        "position": batch.position.seq,
        "first": batch.first,
        "reset": batch.reset,
        "gap": gap,
    }
    return json.dumps(said).encode() + b"\n"


def warning(stream: str, behind: int) -> bytes:
    return json.dumps({"warning": stream, "behind": behind}).encode() + b"\n"


def make_stream(name: str = "ticks", retain: int = 5000) -> Stream[Tick]:
    return Stream(name, Tick, clock=lambda: 1, epoch="e", retain=Retain(retain))


def fill(stream: Stream[Tick], count: int, **more: Any) -> None:
    for _ in range(count):
        stream.append(Tick(price=stream.seq + 1, **more))


class Reader:
    """A client with a fake socket, and what it was sent."""

    def __init__(
        self,
        channels: Channels,
        opening: bytes = b"",
        pack: packing.Pack = packing.plain,
        counts_for: str | None = None,
    ) -> None:
        self.socket = FakeSocket()
        self.gone: list[str] = []
        self.channels = channels
        self.client = Client(
            channels.crowd, pack, lambda client, why: self.gone.append(why), opening, counts_for
        )

    def follow(self, stream: Stream[Tick], **how: Any) -> "Reader":
        how.setdefault("encode", lines)
        how.setdefault("warn", warning)
        self.channels.follow(self.client, stream, how.pop("encode"), **how)
        return self

    def start(self) -> "Reader":
        self.client.start(self.socket)
        return self

    @property
    def told(self) -> list[dict[str, Any]]:
        whole = bytes(self.socket.taken).rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.split(b"\n") if line.startswith(b"{")]

    @property
    def batches(self) -> list[dict[str, Any]]:
        return [said for said in self.told if "seqs" in said]

    @property
    def warnings(self) -> list[int]:
        return [said["behind"] for said in self.told if "warning" in said]

    def seqs(self, stream: str = "ticks") -> list[int]:
        return [seq for b in self.batches if b["stream"] == stream for seq in b["seqs"]]

    @property
    def gaps(self) -> list[list[int]]:
        return [said["gap"] for said in self.batches if said["gap"]]


@pytest.fixture
def channels(nursery: trio.Nursery) -> Channels:
    return Channels(nursery, Limits(pace_s=0.0), stopwatch=lambda: 0.0)


def encoder() -> tuple[Encode, list[Batch[Any]]]:
    """An encoder that takes note of what it encoded."""
    made: list[Batch[Any]] = []

    def encode(batch: Batch[Any]) -> bytes:
        made.append(batch)
        return lines(batch)

    return encode, made


# -- snapshot, then live


async def test_a_client_gets_a_snapshot_and_then_what_is_new(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 3)

    reader = Reader(channels, b"hello\n").follow(stream).start()
    fill(stream, 2)
    await wait_all_tasks_blocked()

    assert reader.socket.taken.startswith(b"hello\n")
    assert [(b["seqs"], b["first"], b["position"]) for b in reader.batches] == [
        ([1, 2, 3], True, 3),
        ([4, 5], False, 5),
    ]


async def test_a_client_of_an_empty_stream_is_told_that_it_is_empty(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream()).start()

    assert [(b["seqs"], b["first"]) for b in reader.batches] == [([], True)]


async def test_nothing_is_written_before_the_start(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 3)
    reader = Reader(channels, b"hello\n").follow(stream)

    fill(stream, 2)
    reader.client.write(b"answer\n")
    await wait_all_tasks_blocked()
    before = bytes(reader.socket.taken)
    reader.start()
    await wait_all_tasks_blocked()

    assert before == b""
    assert reader.socket.taken.startswith(b"hello\nanswer\n")
    assert reader.seqs() == [1, 2, 3, 4, 5]


async def test_a_client_resumes_after_its_position(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 5)

    reader = Reader(channels).follow(stream, after=Position("e", 3)).start()

    assert [(b["seqs"], b["first"], b["gap"]) for b in reader.batches] == [([4, 5], False, None)]


async def test_a_client_who_is_level_is_told_nothing_until_there_is_news(
    channels: Channels,
) -> None:
    stream = make_stream()
    fill(stream, 5)
    reader = Reader(channels).follow(stream, after=stream.head).start()
    await wait_all_tasks_blocked()
    before = list(reader.told)

    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert (before, reader.seqs()) == ([], [6])


async def test_a_client_who_is_ahead_of_the_channel_is_told_nothing_twice(
    channels: Channels,
) -> None:
    stream = make_stream()
    Reader(channels).follow(stream).start()
    fill(stream, 2 * CHUNK_RECORDS)  # and the channel has not passed them on yet

    ahead = [
        Reader(channels).follow(stream, after=Position("e", seq)).start()
        for seq in (CHUNK_RECORDS - 1, CHUNK_RECORDS, CHUNK_RECORDS + 1, stream.seq)
    ]
    fill(stream, 1)
    await wait_all_tasks_blocked()

    for reader, seq in zip(ahead, (499, 500, 501, 1000), strict=True):
        assert reader.seqs() == list(range(seq + 1, stream.seq + 1))


async def test_a_client_who_is_ahead_of_the_channel_loses_nothing(channels: Channels) -> None:
    stream = make_stream()
    Reader(channels).follow(stream).start()
    fill(stream, 5)  # and the channel has not passed them on yet

    reader = Reader(channels).follow(stream, after=Position("e", 4)).start()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert reader.seqs()[-2:] == [5, 6]
    assert (reader.gaps, reader.batches[-1]["position"]) == ([], 6)


async def test_a_position_of_another_epoch_is_a_reset(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 3)

    reader = Reader(channels).follow(stream, after=Position("old", 2)).start()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert [(b["seqs"], b["first"], b["reset"]) for b in reader.batches] == [
        ([1, 2, 3], True, True),
        ([4], False, False),
    ]


async def test_a_client_who_comes_back_too_late_is_told_its_gap(channels: Channels) -> None:
    stream = make_stream(retain=3)
    fill(stream, 10)

    reader = Reader(channels).follow(stream, after=Position("e", 2)).start()

    assert reader.gaps == [[3, 7]]
    assert reader.seqs() == [8, 9, 10]
    assert channels.crowd.counts.gaps == 1


async def test_a_snapshot_may_be_limited_to_the_newest(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 10)

    few = Reader(channels).follow(stream, limit=2).start()
    none = Reader(channels).follow(stream, limit=0).start()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert (few.seqs(), none.seqs()) == ([9, 10, 11], [11])


async def test_the_beginning_of_a_snapshot_is_looked_for_in_slices(channels: Channels) -> None:
    stream = Stream(
        "ticks", Tick, clock=lambda: 0, epoch="e", retain=Retain(count=3 * seek.AT_ONCE * AT_ONCE)
    )
    stream.append(Tick("ETH"))
    fill(stream, 2 * seek.AT_ONCE * AT_ONCE)
    only = filters.parse(Tick, {"symbol": "ETH"})

    reader = Reader(channels).follow(stream, filter=only, limit=1).start()
    at_once = reader.seqs()
    await channels.all_level()
    stream.append(Tick("ETH"))
    await wait_all_tasks_blocked()

    assert at_once == []
    assert reader.seqs() == [1, stream.seq]


async def test_filters_make_channels_of_their_own(channels: Channels) -> None:
    stream = make_stream()
    only = {symbol: filters.parse(Tick, {"symbol": symbol}) for symbol in ("BTC", "ETH")}
    again = filters.parse(Tick, {"symbol": "BTC"})

    btc = Reader(channels).follow(stream, filter=only["BTC"]).start()
    eth = Reader(channels).follow(stream, filter=only["ETH"]).start()
    same = Reader(channels).follow(stream, filter=again).start()
    for symbol in ("BTC", "ETH", "BTC", "SOL"):
        stream.append(Tick(symbol))
    await wait_all_tasks_blocked()

    assert (btc.seqs(), eth.seqs(), same.seqs()) == ([1, 3], [2], [1, 3])
    assert [b["position"] for b in btc.batches] == [0, 4]
    assert len(channels) == 2


async def test_records_are_encoded_once_for_all_who_keep_up(channels: Channels) -> None:
    stream = make_stream()
    encode, made = encoder()
    readers = [Reader(channels).follow(stream, encode=encode).start() for _ in range(50)]
    made.clear()

    fill(stream, 3)
    await wait_all_tasks_blocked()

    assert len(made) == 1
    assert all(reader.seqs() == [1, 2, 3] for reader in readers)
    assert channels.crowd.counts.delivered == 150


async def test_bytes_are_packed_once_for_each_way_to_pack(channels: Channels) -> None:
    stream = make_stream()
    packed: list[str] = []

    def packer(name: str) -> packing.Pack:
        def pack(payloads: list[bytes]) -> bytes:
            packed.append(name)
            return packing.plain(payloads)

        return pack

    one, two = packer("one"), packer("two")
    readers = [Reader(channels, pack=pack).follow(stream).start() for pack in (one, two) * 10]
    packed.clear()

    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert sorted(packed) == ["one", "two"]
    assert all(reader.seqs() == [1] for reader in readers)


async def test_the_chunks_of_a_snapshot_are_shared_by_who_comes_together(
    channels: Channels,
) -> None:
    stream = make_stream()
    fill(stream, 1200)
    encode, made = encoder()

    readers = [Reader(channels).follow(stream, encode=encode).start() for _ in range(20)]

    assert len(made) == 3
    assert all(reader.seqs() == list(range(1, 1201)) for reader in readers)
    assert channels.prepared.bytes > 0


async def test_chunks_with_a_gap_are_not_kept_for_others(channels: Channels) -> None:
    stream = make_stream(retain=5)
    fill(stream, 10)
    encode, made = encoder()

    for _ in range(2):
        Reader(channels).follow(stream, encode=encode, after=Position("e", 1)).start()

    assert [batch.gap for batch in made] == [Gap(2, 5), Gap(2, 5)]


async def test_a_message_holds_at_most_so_many_records(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, CHUNK_RECORDS * 2 + 5)
    reader = Reader(channels).follow(stream).start()

    fill(stream, CHUNK_RECORDS + 1)
    await wait_all_tasks_blocked()

    assert [len(b["seqs"]) for b in reader.batches] == [
        CHUNK_RECORDS,
        CHUNK_RECORDS,
        5,
        CHUNK_RECORDS,
        1,
    ]
    assert [b["first"] for b in reader.batches] == [True, False, False, False, False]
    assert reader.seqs() == list(range(1, stream.seq + 1))


async def test_a_message_ends_with_the_record_that_makes_it_large(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 5, note="x" * (CHUNK_BYTES // 2))

    reader = Reader(channels).follow(stream).start()
    fill(stream, 1, note="x" * CHUNK_BYTES * 3)
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert [b["seqs"] for b in reader.batches] == [[1, 2], [3, 4], [5], [6], [7]]
    assert [b["position"] for b in reader.batches] == [2, 4, 5, 6, 7]


async def test_a_gap_before_a_large_message_is_told_once(channels: Channels) -> None:
    stream = make_stream(retain=3)
    fill(stream, 9, note="x" * (CHUNK_BYTES // 2))

    reader = Reader(channels).follow(stream, after=Position("e", 1)).start()

    assert reader.gaps == [[2, 6]]
    assert reader.seqs() == [7, 8, 9]


async def test_more_than_is_retained_between_two_passes_is_a_gap_for_all(
    channels: Channels,
) -> None:
    stream = make_stream(retain=10)
    readers = [Reader(channels).follow(stream).start() for _ in range(3)]
    await wait_all_tasks_blocked()

    fill(stream, 25)
    await wait_all_tasks_blocked()

    for reader in readers:
        assert reader.gaps == [[1, 15]]
        assert reader.seqs() == list(range(16, 26))
    assert channels.crowd.counts.gaps == 3


async def test_the_end_of_the_stream_ends_the_channel_after_its_last_record(
    channels: Channels,
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    await wait_all_tasks_blocked()

    fill(stream, 3)
    stream.close()
    await wait_all_tasks_blocked()

    assert reader.seqs() == [1, 2, 3]
    assert reader.gone == []


# -- positions that a filter hides


async def test_a_position_that_a_filter_hid_is_told_when_it_gets_quiet(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    only = filters.parse(Tick, {"symbol": "ETH"})
    reader = Reader(channels).follow(stream, filter=only).start()
    await trio.sleep(1)

    fill(stream, 7)
    await trio.sleep(14)
    before = len(reader.batches)
    await trio.sleep(16)
    after = len(reader.batches)
    await trio.sleep(100)

    assert (before, after, len(reader.batches)) == (1, 2, 2)
    assert (reader.batches[1]["seqs"], reader.batches[1]["position"]) == ([], 7)


async def test_a_position_that_a_filter_hides_is_told_though_the_stream_is_never_quiet(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    only = filters.parse(Tick, {"symbol": "ETH"})
    reader = Reader(channels).follow(stream, filter=only).start()

    for _ in range(62):
        fill(stream, 1)
        await trio.sleep(1)

    assert [b["position"] for b in reader.batches[1:]] == pytest.approx([16, 31, 46, 61], abs=1)


async def test_a_quiet_stream_says_nothing(channels: Channels, autojump_clock: MockClock) -> None:
    stream = make_stream()
    fill(stream, 1)
    reader = Reader(channels).follow(stream).start()

    await trio.sleep(3600)

    assert len(reader.told) == 1


# -- slow clients


async def test_a_short_write_is_finished_when_there_is_room(channels: Channels) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(10)

    fill(stream, 1)
    await wait_all_tasks_blocked()
    behind = len(channels.crowd.behind)
    fill(stream, 2)
    await wait_all_tasks_blocked()
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert behind == 1
    assert [b["seqs"] for b in reader.batches] == [[], [1], [2, 3]]
    assert channels.crowd.behind == set()


async def test_a_message_may_take_many_short_writes(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 30)
    reader = Reader(channels, b"hello\n").follow(stream)
    reader.socket.takes(1)
    reader.start()

    while channels.crowd.behind:
        await wait_all_tasks_blocked()
        reader.socket.takes(7)

    assert reader.socket.taken.startswith(b"hello\n{")
    assert reader.seqs() == list(range(1, 31))


async def test_a_client_who_blocks_gets_what_it_missed_together(channels: Channels) -> None:
    stream = make_stream()
    slow = Reader(channels).follow(stream).start()
    quick = Reader(channels).follow(stream).start()
    slow.socket.blocks()

    for _ in range(5):
        fill(stream, 1)
        await wait_all_tasks_blocked()
    slow.socket.recovers()
    await wait_all_tasks_blocked()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert [b["seqs"] for b in quick.batches] == [[], [1], [2], [3], [4], [5], [6]]
    assert [b["seqs"] for b in slow.batches] == [[], [1], [2, 3, 4, 5], [6]]
    assert channels.crowd.behind == set()


async def test_a_stalled_client_keeps_only_the_rest_of_one_message(channels: Channels) -> None:
    stream = make_stream(retain=10)
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(5)

    for _ in range(1000):
        fill(stream, 1)
        await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()

    assert reader.client.rest is not None
    assert len(reader.client.rest) < 200
    assert reader.client._urgent == []


async def test_a_client_who_stalls_past_the_end_of_the_log_is_told_exactly_what_it_missed(
    channels: Channels,
) -> None:
    stream = make_stream(retain=10)
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(20)

    for _ in range(50):
        fill(stream, 1)
        await wait_all_tasks_blocked()
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert reader.gaps == [[2, 40]]
    assert reader.seqs() == [1, *range(41, 51)]
    assert channels.crowd.counts.gaps == 1


async def test_a_client_who_was_stalled_for_too_long_is_told_so_once(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(20)
    fill(stream, 1)
    await wait_all_tasks_blocked()

    fill(stream, 4)
    await trio.sleep(2)
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert [("warning" in said) or said["seqs"] for said in reader.told] == [
        [],
        [1],
        True,
        [2, 3, 4, 5],
    ]
    assert reader.warnings == [4]
    assert channels.crowd.counts.slow == 1


async def test_a_client_who_stalls_briefly_is_not_slow(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.blocks()

    fill(stream, 5)
    await trio.sleep(0.9)
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert (reader.warnings, channels.crowd.counts.slow) == ([], 0)
    assert reader.seqs() == [1, 2, 3, 4, 5]


async def test_each_time_a_client_is_slow_it_is_told(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()

    for _ in range(3):
        reader.socket.blocks()
        fill(stream, 1)
        await trio.sleep(1)
        fill(stream, 2)
        await trio.sleep(5)
        reader.socket.recovers()
        await trio.sleep(5)

    assert reader.warnings == [2, 2, 2]
    assert channels.crowd.counts.slow == 3


async def test_a_client_who_stalls_far_into_its_snapshot_is_slow_too(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream(retain=10_000)
    fill(stream, CHUNK_RECORDS * 12)
    whole = Reader(channels).follow(stream).start()
    await wait_all_tasks_blocked()
    reader = Reader(channels).follow(stream)
    reader.socket.takes(len(b"".join(bytes(whole.socket.taken).splitlines(True)[:10])) + 5)

    reader.start()
    await trio.sleep(5)
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert reader.seqs() == whole.seqs() == list(range(1, stream.seq + 1))
    assert reader.warnings == [CHUNK_RECORDS]
    assert whole.warnings == []


async def test_a_sink_without_words_for_it_has_slow_clients_counted_all_the_same(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    no_words: Warn | None = None
    reader = Reader(channels).follow(stream, warn=no_words).start()
    reader.socket.blocks()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    fill(stream, 1)
    await trio.sleep(5)
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert (reader.seqs(), reader.warnings, channels.crowd.counts.slow) == ([1, 2], [], 1)


async def test_a_client_who_takes_no_byte_for_too_long_is_let_go(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.blocks()
    fill(stream, 1)

    await trio.sleep(59.9)
    before = list(reader.gone)
    await trio.sleep(0.2)

    assert (before, reader.gone) == ([], ["slow consumer: took no byte for too long"])
    assert reader.socket.closed
    assert channels.crowd.counts.gone_slow == 1
    assert (len(channels), channels.crowd.behind) == (0, set())


async def test_a_client_who_takes_a_byte_now_and_then_stays(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.blocks()
    fill(stream, 100)

    for _ in range(10):
        await trio.sleep(59)
        reader.socket.takes(1)

    assert reader.gone == []


async def test_a_slow_client_costs_the_others_nothing(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    stalled = [Reader(channels).follow(stream).start() for _ in range(10)]
    quick = Reader(channels).follow(stream).start()
    for reader in stalled:
        reader.socket.takes(3)

    for _ in range(20):
        fill(stream, 1)
        await trio.sleep(0.1)

    assert [b["seqs"] for b in quick.batches[1:]] == [[seq] for seq in range(1, 21)]
    assert len(channels.crowd.behind) == 10


async def test_all_who_are_behind_can_be_waited_for(
    channels: Channels, nursery: trio.Nursery
) -> None:
    stream = make_stream()
    readers = [Reader(channels).follow(stream).start() for _ in range(2)]
    for reader in readers:
        reader.socket.blocks()
    fill(stream, 1)
    await wait_all_tasks_blocked()
    level = trio.Event()

    async def wait() -> None:
        await channels.all_level()
        level.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    readers[0].socket.recovers()
    await wait_all_tasks_blocked()
    before = level.is_set()
    readers[1].client.drop("left")
    await wait_all_tasks_blocked()

    assert (before, level.is_set()) == (False, True)


# -- connections that break


async def test_a_client_whose_connection_breaks_in_a_pass_is_let_go(channels: Channels) -> None:
    stream = make_stream()
    lost = Reader(channels).follow(stream).start()
    other = Reader(channels).follow(stream).start()
    lost.socket.breaks()

    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert lost.gone == ["connection lost"]
    assert lost.socket.closed
    assert other.seqs() == [1]


async def test_a_client_whose_connection_breaks_while_it_is_behind_is_let_go(
    channels: Channels,
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.blocks()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    reader.socket.breaks()
    await wait_all_tasks_blocked()

    assert reader.gone == ["connection lost"]
    assert (len(channels), channels.crowd.behind) == (0, set())


async def test_a_client_whose_connection_is_broken_from_the_start_is_let_go(
    channels: Channels,
) -> None:
    stream = make_stream()
    fill(stream, 1)
    reader = Reader(channels).follow(stream)
    reader.socket.breaks()

    reader.start()
    await wait_all_tasks_blocked()

    assert reader.gone == ["connection lost"]
    assert (len(channels), channels.crowd.behind) == (0, set())


async def test_a_client_is_let_go_once(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream()).start()

    reader.client.drop("left")
    reader.client.drop("left again")
    reader.client.write(b"nobody hears this")

    assert reader.gone == ["left"]
    assert b"nobody" not in reader.socket.taken


async def test_a_client_that_is_gone_follows_nothing_any_more(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream("one")).start()
    reader.socket.breaks()

    reader.follow(make_stream("two"))
    reader.follow(make_stream("three"))
    await wait_all_tasks_blocked()

    assert reader.gone == ["connection lost"]
    assert (reader.client.places, len(channels)) == ({}, 0)


async def test_an_abandoned_client_leaves_its_socket_alone(channels: Channels) -> None:
    reader = Reader(channels, b"hello").follow(make_stream())

    reader.client.abandon()
    await wait_all_tasks_blocked()

    assert (bytes(reader.socket.taken), reader.socket.closed, reader.gone) == (b"", False, [])
    assert len(channels) == 0


async def test_a_sink_that_fails_costs_its_own_clients_alone(
    channels: Channels, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(batch: Batch[Any]) -> bytes:
        if 3 in [record.seq for record in batch.records]:
            raise ValueError("a bug in a sink")
        return lines(batch)

    stream = make_stream()
    fill(stream, 2)
    lost = [Reader(channels).follow(stream, encode=broken).start() for _ in range(3)]
    other = Reader(channels).follow(stream).start()

    fill(stream, 1)
    await wait_all_tasks_blocked()
    late = Reader(channels).follow(stream, encode=broken).start()
    stalled = Reader(channels).follow(stream, encode=broken, after=stream.head).start()
    await wait_all_tasks_blocked()

    assert [reader.gone for reader in [*lost, late, stalled]] == [["internal error"]] * 4 + [[]]
    assert [reader.seqs() for reader in lost] == [[1, 2]] * 3
    assert other.seqs() == [1, 2, 3]
    assert "a sink's encode failed" in caplog.text


async def test_a_sink_that_fails_for_a_client_who_catches_up_costs_this_client_alone(
    channels: Channels, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(batch: Batch[Any]) -> bytes:
        if len(batch.records) == 2:
            raise ValueError("a bug in a sink")
        return lines(batch)

    stream = make_stream()
    slow, quick = (Reader(channels).follow(stream, encode=broken).start() for _ in range(2))
    slow.socket.takes(10)
    for _ in range(3):
        fill(stream, 1)
        await wait_all_tasks_blocked()

    slow.socket.recovers()
    await wait_all_tasks_blocked()

    assert (slow.gone, quick.gone) == (["internal error"], [])
    assert quick.seqs() == [1, 2, 3]
    assert channels.crowd.behind == set()


# -- answers


async def test_an_answer_is_written_at_once_to_who_keeps_up(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream()).start()

    reader.client.write(b'{"pong": 1}\n')

    assert reader.told[-1] == {"pong": 1}


async def test_an_answer_waits_for_the_end_of_the_message_under_way(channels: Channels) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(20)
    fill(stream, 1)
    await wait_all_tasks_blocked()

    fill(stream, 1)
    reader.client.write(b'{"pong": 1}\n')
    reader.client.write(b'{"pong": 2}\n')
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert [said.get("seqs", said.get("pong")) for said in reader.told] == [[], [1], 1, 2, [2]]


async def test_an_answer_that_does_not_fit_is_finished_later(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream()).start()
    reader.socket.takes(4)

    reader.client.write(b'{"pong": 1}\n')
    await wait_all_tasks_blocked()
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert reader.told[-1] == {"pong": 1}
    assert channels.crowd.behind == set()


async def test_who_does_not_read_its_answers_is_let_go(channels: Channels) -> None:
    reader = Reader(channels).follow(make_stream()).start()
    reader.socket.blocks()

    for _ in range(2 + URGENT_MAX // 1000):
        reader.client.write(b"x" * 1000)
    await wait_all_tasks_blocked()

    assert reader.gone == ["does not read its answers"]


# -- several streams


async def test_one_connection_may_follow_several_streams(channels: Channels) -> None:
    streams = [make_stream(f"s{number}") for number in range(5)]
    reader = Reader(channels)
    for stream in streams:
        reader.follow(stream)
    reader.start()

    for stream in streams:
        fill(stream, 2)
    await wait_all_tasks_blocked()

    assert all(reader.seqs(stream.name) == [1, 2] for stream in streams)
    assert len(channels) == 5


async def test_a_message_of_one_stream_never_interrupts_that_of_another(
    channels: Channels,
) -> None:
    streams = [make_stream(f"s{number}") for number in range(5)]
    reader = Reader(channels)
    for stream in streams:
        reader.follow(stream)
    reader.start()
    random = Random(3)

    for _ in range(300):
        reader.socket.takes(random.choice([0, 1, 5, 90, None]))
        fill(random.choice(streams), random.randint(0, 3))
        if random.random() < 0.5:
            await wait_all_tasks_blocked()
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    for stream in streams:
        assert reader.seqs(stream.name) == list(range(1, stream.seq + 1))


async def test_a_stream_may_be_followed_later(channels: Channels) -> None:
    one, two = make_stream("one"), make_stream("two")
    fill(two, 3)
    reader = Reader(channels).follow(one).start()
    await wait_all_tasks_blocked()

    reader.follow(two)

    assert reader.seqs("two") == [1, 2, 3]


async def test_a_stream_that_is_followed_while_the_client_is_behind_waits_its_turn(
    channels: Channels,
) -> None:
    one, two = make_stream("one"), make_stream("two")
    fill(two, 3)
    reader = Reader(channels).follow(one).start()
    reader.socket.takes(20)
    fill(one, 1)
    await wait_all_tasks_blocked()

    reader.follow(two)
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert [b["seqs"] for b in reader.batches] == [[], [1], [1, 2, 3]]


async def test_following_a_stream_again_replaces_how_it_was_followed(channels: Channels) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    only = filters.parse(Tick, {"symbol": "ETH"})

    reader.follow(stream, filter=only, after=stream.head)
    for symbol in ("BTC", "ETH"):
        stream.append(Tick(symbol))
    await wait_all_tasks_blocked()

    assert reader.seqs() == [2]
    assert len(channels) == 1


async def test_following_a_stream_again_in_the_same_way_starts_anew(channels: Channels) -> None:
    stream = make_stream()
    fill(stream, 2)
    reader = Reader(channels).follow(stream).start()

    reader.follow(stream)
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert [b["seqs"] for b in reader.batches] == [[1, 2], [1, 2], [3]]
    assert len(reader.client.places["ticks"].channel) == 1


async def test_a_stream_that_is_unfollowed_is_silent(channels: Channels) -> None:
    one, two = make_stream("one"), make_stream("two")
    reader = Reader(channels).follow(one).follow(two).start()
    await wait_all_tasks_blocked()

    was_followed = reader.client.unfollow("one")
    again = reader.client.unfollow("one")
    fill(one, 1)
    fill(two, 1)
    await wait_all_tasks_blocked()

    assert (was_followed, again) == (True, False)
    assert (reader.seqs("one"), reader.seqs("two")) == ([], [1])
    assert len(channels) == 1


async def test_unfollowing_while_behind_drops_what_was_not_begun(channels: Channels) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()
    reader.socket.takes(20)
    fill(stream, 1)
    await wait_all_tasks_blocked()

    fill(stream, 5)
    reader.client.unfollow("ticks")
    reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert reader.seqs() == [1]
    assert channels.crowd.behind == set()


async def test_a_connection_follows_at_most_so_many_streams(channels: Channels) -> None:
    reader = Reader(channels)
    for number in range(PLACES_MAX):
        reader.follow(make_stream(f"s{number}"))

    with pytest.raises(BadRequest, match=f"at most {PLACES_MAX} streams"):
        reader.follow(make_stream("one more"))
    reader.follow(make_stream("s0"))

    assert len(channels) == PLACES_MAX


def one(symbol: object) -> filters.Filter:
    return filters.parse(Tick, {"symbol": f"S{symbol}"})


async def test_there_are_at_most_so_many_filters_and_who_wants_none_is_let_in(
    channels: Channels,
) -> None:
    stream = make_stream()
    readers = [
        Reader(channels).follow(stream, filter=one(number)) for number in range(FILTERED_MAX)
    ]

    with pytest.raises(BadRequest, match="too many different filters") as caught:
        Reader(channels).follow(stream, filter=one("more"))
    Reader(channels).follow(stream, filter=one(0))
    Reader(channels).follow(stream)
    readers[5].client.abandon()
    Reader(channels).follow(stream, filter=one("more"))

    assert (caught.value.status, caught.value.code) == (503, "TOO_MANY_FILTERS")
    assert len(channels) == FILTERED_MAX + 1


async def test_an_address_has_only_so_many_filters_of_its_own(channels: Channels) -> None:
    stream = make_stream()
    readers = [
        Reader(channels, counts_for="192.0.2.1").follow(stream, filter=one(number))
        for number in range(FILTERED_PER_ADDRESS)
    ]

    with pytest.raises(BadRequest, match="too many different filters"):
        Reader(channels, counts_for="192.0.2.1").follow(stream, filter=one("more"))
    Reader(channels, counts_for="192.0.2.2").follow(stream, filter=one("more"))
    readers[0].client.abandon()
    Reader(channels, counts_for="192.0.2.1").follow(stream, filter=one("another"))

    assert len(channels) == FILTERED_PER_ADDRESS + 1


@pytest.mark.parametrize("pack", [packing.gzip_blocks, packing.deflated_frames])
async def test_however_many_want_to_catch_up_one_is_packed_for_in_a_turn_of_the_loop(
    channels: Channels, pack: packing.Pack
) -> None:
    stream, packed = make_stream(), list[int]()
    fill(stream, 3000)

    def encode(batch: Batch[Any]) -> bytes:
        packed.append(batch.position.seq)
        return lines(batch)

    readers = [
        Reader(channels, pack=pack).follow(stream, encode=encode, after=Position("e", number))
        for number in range(20)
    ]
    for reader in readers:
        reader.start()
    most = len(packed)
    while channels.crowd.behind:
        before = len(packed)
        await trio.lowlevel.checkpoint()
        most = max(most, len(packed) - before)

    assert len(packed) > 20
    # Our own turn may come late in one turn of the loop, and early in the next.
    assert most <= 2


async def test_a_channel_ends_with_its_last_client_and_begins_anew_with_the_next(
    channels: Channels,
) -> None:
    stream = make_stream()
    first = Reader(channels).follow(stream).start()
    await wait_all_tasks_blocked()
    during = len(channels.crowd.nursery.child_tasks)

    first.client.drop("left")
    await wait_all_tasks_blocked()
    after = len(channels.crowd.nursery.child_tasks)
    fill(stream, 2)
    second = Reader(channels).follow(stream).start()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert (during - after, len(channels)) == (1, 1)
    assert second.seqs() == [1, 2, 3]


async def test_what_was_packed_outlives_its_channel_for_the_next_who_asks(
    channels: Channels,
) -> None:
    encode, made = encoder()
    stream = make_stream()
    fill(stream, 3)

    for _ in range(5):
        reader = Reader(channels).follow(stream, encode=encode).start()
        await wait_all_tasks_blocked()
        reader.client.drop("left")
        await wait_all_tasks_blocked()

    assert (len(made), len(channels.prepared)) == (1, 1)


# -- in the middle of a pass


class MidPass:
    """Channels whose passes give way after every sixteenth client, and what happens then."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._now = 0.0
        self.channels = Channels(nursery, Limits(pace_s=0.0), stopwatch=self.watch)
        self.stream = make_stream()
        self.readers = [Reader(self.channels).follow(self.stream).start() for _ in range(64)]

    def watch(self) -> float:
        self._now += 1
        return self._now

    async def interrupted_by(self, act: Callable[[], object]) -> None:
        """Append two records one after the other, and act when the pass over the first pauses."""
        await wait_all_tasks_blocked()
        fill(self.stream, 1)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            served = [bool(reader.seqs()) for reader in self.readers]
            if any(served) and not all(served):
                break
        else:
            raise AssertionError("no pause in the pass")
        act()
        await wait_all_tasks_blocked()
        fill(self.stream, 1)
        await wait_all_tasks_blocked()


async def test_a_pass_gives_way_to_other_tasks(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    await scene.interrupted_by(lambda: None)

    assert all(reader.seqs() == [1, 2] for reader in scene.readers)


async def test_a_client_may_leave_in_the_middle_of_a_pass(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    def leave() -> None:
        scene.readers[0].client.unfollow("ticks")
        scene.readers[40].client.unfollow("ticks")
        scene.readers[41].client.drop("left")

    await scene.interrupted_by(leave)

    got = [reader.seqs() for reader in scene.readers]
    assert (got[0], got[40], got[41]) == ([1], [], [])
    assert all(seqs == [1, 2] for index, seqs in enumerate(got) if index not in (0, 40, 41))


async def test_all_clients_may_leave_in_the_middle_of_a_pass(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    def leave() -> None:
        for reader in scene.readers:
            reader.client.drop("left")

    await scene.interrupted_by(leave)

    assert len(scene.channels) == 0


async def test_a_client_may_come_in_the_middle_of_a_pass(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)
    late: list[Reader] = []

    await scene.interrupted_by(
        lambda: late.append(Reader(scene.channels).follow(scene.stream).start())
    )

    assert late[0].seqs() == [1, 2]


async def test_a_client_may_follow_anew_in_the_middle_of_a_pass(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    def again() -> None:
        for index in (0, 40):
            scene.readers[index].follow(scene.stream, after=Position("e", 0))

    await scene.interrupted_by(again)

    assert scene.readers[0].seqs() == [1, 1, 2]
    assert scene.readers[40].seqs() == [1, 2]


async def test_a_client_may_follow_another_stream_in_the_middle_of_a_pass(
    nursery: trio.Nursery,
) -> None:
    scene = MidPass(nursery)
    other = make_stream("other")
    fill(other, 1)

    def more() -> None:
        for index in (0, 40):
            scene.readers[index].follow(other)

    await scene.interrupted_by(more)

    for index in (0, 40):
        assert scene.readers[index].seqs("other") == [1]
        assert scene.readers[index].seqs() == [1, 2]


async def test_a_client_may_stall_or_break_in_the_middle_of_a_pass(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    def stall() -> None:
        scene.readers[40].socket.takes(10)
        scene.readers[41].socket.blocks()
        scene.readers[42].socket.breaks()

    await scene.interrupted_by(stall)
    scene.readers[40].socket.recovers()
    scene.readers[41].socket.recovers()
    await wait_all_tasks_blocked()

    assert scene.readers[40].seqs() == [1, 2]
    assert scene.readers[41].seqs() == [1, 2]
    assert scene.readers[42].gone == ["connection lost"]


async def test_who_comes_level_while_another_packing_is_served_is_told_nothing_twice(
    nursery: trio.Nursery,
) -> None:
    now = 0.0

    def watch() -> float:
        nonlocal now
        now += 1
        return now

    channels = Channels(nursery, Limits(pace_s=0.0), stopwatch=watch)
    stream = make_stream()
    other = lambda payloads: b"".join(payloads)  # noqa: E731  # a packing of its own
    early = [Reader(channels, pack=pack).follow(stream).start() for pack in (packing.plain, other)]
    await wait_all_tasks_blocked()
    fill(stream, 1)
    late = Reader(channels, pack=other)
    while not early[0].seqs():
        await trio.lowlevel.checkpoint()

    late.follow(stream, after=Position("e", 0)).start()
    await wait_all_tasks_blocked()

    assert [reader.seqs() for reader in (*early, late)] == [[1], [1], [1]]


async def test_records_pile_up_during_a_pass_and_go_out_together(nursery: trio.Nursery) -> None:
    scene = MidPass(nursery)

    await scene.interrupted_by(lambda: fill(scene.stream, 9))

    for reader in scene.readers:
        assert [b["seqs"] for b in reader.batches[1:]] == [[1], list(range(2, 11)), [11]]


# -- whatever happens


@pytest.mark.parametrize("seed", range(12))
async def test_no_client_ever_loses_a_record_unannounced(
    nursery: trio.Nursery, autojump_clock: MockClock, seed: int
) -> None:
    random = Random(seed)
    now = 0.0

    def watch() -> float:
        nonlocal now
        now += random.choice([0, 0.001, 0.1])
        return now

    channels = Channels(nursery, Limits(slow_consumer_limit_s=1e6, pace_s=0.0), stopwatch=watch)
    streams = [make_stream(f"s{n}", retain=random.choice([5, 40, 1000])) for n in range(3)]
    readers = [Reader(channels) for _ in range(40)]
    for reader in readers:
        for stream in streams:
            reader.follow(stream, after=Position("e", 0))
        reader.start()

    for _ in range(150):
        fill(random.choice(streams), random.randint(0, 12))
        reader = random.choice(readers)
        reader.socket.takes(random.choice([0, 1, 17, 1000, None]))
        if random.random() < 0.1:
            reader.client.write(b'{"pong": 0}\n')
        if random.random() < 0.3:
            await trio.lowlevel.checkpoint()
        if random.random() < 0.2:
            await trio.sleep(random.random() * 3)
    for reader in readers:
        reader.socket.recovers()
    await wait_all_tasks_blocked()

    assert channels.crowd.behind == set()
    for reader in readers:
        for stream in streams:
            batches = [b for b in reader.batches if b["stream"] == stream.name]
            seen = reader.seqs(stream.name)
            missed = [s for b in batches if b["gap"] for s in range(b["gap"][0], b["gap"][1] + 1)]
            assert sorted(seen + missed) == list(range(1, stream.seq + 1))
            assert seen == sorted(seen)
            assert not batches or batches[-1]["position"] == stream.seq


# -- bursts


async def test_in_a_burst_many_clients_get_records_together(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    channels = Channels(nursery, Limits())
    stream = make_stream()
    readers = [Reader(channels).follow(stream).start() for _ in range(PACE_CLIENTS)]
    began = trio.current_time()

    for _ in range(20):
        fill(stream, 1)
        await trio.sleep(Limits().pace_s / 5)
    await trio.sleep(Limits().pace_s)

    for reader in readers:
        assert reader.seqs() == list(range(1, 21))
        assert len(reader.batches) <= 2 + (trio.current_time() - began) / Limits().pace_s


async def test_no_record_waits_where_there_is_no_burst(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    channels = Channels(nursery, Limits())
    stream = make_stream()
    readers = [Reader(channels).follow(stream).start() for _ in range(PACE_CLIENTS)]
    await trio.sleep(Limits().pace_s)

    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert all(reader.seqs() == [1] for reader in readers)


async def test_few_clients_get_each_record_at_once(channels: Channels) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream).start()

    for _ in range(5):
        fill(stream, 1)
        await wait_all_tasks_blocked()

    assert [batch["seqs"] for batch in reader.batches[1:]] == [[1], [2], [3], [4], [5]]


# -- a pace of its own, and an audience --


async def test_a_paced_channel_passes_on_only_the_newest_of_each_key(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream, every_s=5.0).start()
    await trio.sleep(5)

    for price in range(4):
        stream.append(Tick(price=price), key="BTC")
        await trio.sleep(1)
    await trio.sleep(5)

    assert [said["seqs"] for said in reader.batches if said["seqs"]] == [[1], [4]]


async def test_who_comes_between_two_paces_sees_how_it_is_now_and_nothing_twice(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    stream.append(Tick(price=1), key="BTC")
    early = Reader(channels).follow(stream, every_s=60.0).start()
    await trio.sleep(61)
    stream.append(Tick(price=2), key="BTC")
    await trio.sleep(1)
    stream.append(Tick(price=3), key="BTC")

    late = Reader(channels).follow(stream, every_s=60.0).start()
    await trio.sleep(1)
    stream.append(Tick(price=4), key="ETH")
    await trio.sleep(100)

    assert [said["seqs"] for said in late.batches if said["seqs"]] == [[3], [4]]
    assert [said["seqs"] for said in early.batches if said["seqs"]] == [[1], [2], [3, 4]]


async def test_a_paced_channel_does_not_hold_up_the_end(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream = make_stream()
    reader = Reader(channels).follow(stream, every_s=60.0).start()
    await trio.sleep(61)
    stream.append(Tick(), key="BTC")
    await trio.sleep(1)
    stream.append(Tick(price=2), key="BTC")

    stream.close()
    with trio.fail_after(1):
        await channels.all_level()

    assert reader.batches[-1]["seqs"] == [2]


async def test_an_audience_counts_clients_and_messages_by_a_field(channels: Channels) -> None:
    stream, audience = make_stream(), Audience("symbol")
    both = filters.parse(Tick, {"symbol": ["BTC", "ETH"]})
    Reader(channels).follow(stream, filter=both, audience=audience).start()
    other = Reader(channels).follow(stream, filter=both, audience=audience).start()
    await wait_all_tasks_blocked()

    stream.append(Tick("BTC"))
    stream.append(Tick("SOL"))
    await wait_all_tasks_blocked()
    other.client.drop("gone")

    assert audience.clients == {"BTC": 1, "ETH": 1}
    assert audience.sent == {"BTC": 2}
    assert audience.figures()["took"]["BTC"]["count"] == 1


async def test_an_audience_counts_a_snapshot_as_a_message(channels: Channels) -> None:
    stream, audience = make_stream(), Audience("symbol")
    stream.append(Tick("BTC"), key="BTC")

    for _ in range(3):
        Reader(channels).follow(stream, audience=audience).start()
        await wait_all_tasks_blocked()

    assert audience.sent == {"BTC": 3}


async def test_a_stalled_client_is_counted_for_what_it_follows(
    channels: Channels, autojump_clock: MockClock
) -> None:
    stream, audience = make_stream(), Audience("symbol")
    btc = filters.parse(Tick, {"symbol": "BTC"})
    reader = Reader(channels).follow(stream, filter=btc, audience=audience).start()
    await wait_all_tasks_blocked()
    reader.socket.blocks()
    stream.append(Tick("BTC"))
    await trio.sleep(2)
    stream.append(Tick("BTC"))

    reader.socket.recovers()
    await trio.sleep(1)

    assert audience.slow == {"BTC": 1}


def test_an_audience_of_too_many_values_counts_the_rest_together() -> None:
    audience = Audience("symbol")

    audience.delivered([f"S{number}" for number in range(NAMES_MAX + 5)], 1)

    assert audience.sent["other"] == 5
    assert len(audience.sent) == NAMES_MAX + 1


async def test_one_stream_may_be_followed_several_times_under_different_names(
    channels: Channels,
) -> None:
    stream = make_stream()
    btc, eth = (filters.parse(Tick, {"symbol": symbol}) for symbol in ("BTC", "ETH"))
    reader = Reader(channels)
    reader.follow(stream, filter=btc, name="BTC").follow(stream, filter=eth, name="ETH").start()
    for symbol in ("BTC", "ETH", "BTC"):
        stream.append(Tick(symbol))
        await wait_all_tasks_blocked()

    reader.client.unfollow("BTC")
    stream.append(Tick("BTC"))
    stream.append(Tick("ETH"))
    await wait_all_tasks_blocked()

    assert reader.seqs() == [1, 2, 3, 5]
