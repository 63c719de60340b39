"""Payloads to bytes: the same for everybody, and readable by whoever reads them."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from flowd.channel import packing

PAYLOADS = st.lists(st.text(max_size=400).map(str.encode), max_size=6)


def read_messages(data: bytes, *, deflated: bool) -> list[bytes]:
    """The messages in frames, as a client of its own would read them."""
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    if deflated:
        client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    client.receive_data(data)
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert client.state is State.OPEN
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)
    return [bytes(frame.data) for frame in frames]


@given(PAYLOADS)
def test_plain_payloads_follow_one_another(payloads: list[bytes]) -> None:
    assert packing.plain(payloads) == b"".join(payloads)


@given(st.lists(PAYLOADS, max_size=5))
def test_gzip_blocks_make_one_gzip_body(batches: list[list[bytes]]) -> None:
    body = packing.GZIP_HEAD + b"".join(map(packing.gzip_blocks, batches))

    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(body) == b"".join(part for batch in batches for part in batch)


@given(PAYLOADS, PAYLOADS)
def test_a_gzip_block_can_be_read_as_soon_as_it_is_there(
    first: list[bytes], second: list[bytes]
) -> None:
    unpacker = zlib.decompressobj(31)
    unpacker.decompress(packing.GZIP_HEAD)

    assert unpacker.decompress(packing.gzip_blocks(first)) == b"".join(first)
    assert unpacker.decompress(packing.gzip_blocks(second)) == b"".join(second)


def test_a_gzip_block_leans_on_nothing_before_it() -> None:
    block = packing.gzip_blocks([b"the same words " * 50])

    assert packing.gzip_blocks([b"the same words " * 50]) == block
    for before in (b"", packing.gzip_blocks([b"something else"])):
        unpacker = zlib.decompressobj(31)
        unpacker.decompress(packing.GZIP_HEAD + before)
        assert unpacker.decompress(block) == b"the same words " * 50


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_body_that_gets_its_tail_late_is_whole(body: bytes, tail: bytes) -> None:
    for opened in (packing.gzip_open(body), packing.Open(body)):
        whole = opened.data + opened.ending(tail)

        assert (gzip.decompress(whole) if opened.gzip else whole) == body + tail


@given(st.binary(max_size=2000))
def test_the_same_body_is_gzipped_to_the_same_bytes(body: bytes) -> None:
    assert packing.gzip_open(body) == packing.gzip_open(body)


def test_the_longest_tail_fits_into_one_block() -> None:
    tail = b"x" * 0xFFFF
    opened = packing.gzip_open(b"body ")

    assert gzip.decompress(opened.data + opened.ending(tail)) == b"body " + tail


@given(PAYLOADS)
def test_each_payload_is_a_message(payloads: list[bytes]) -> None:
    assert read_messages(packing.frames(payloads), deflated=False) == payloads


@given(PAYLOADS)
def test_each_payload_is_a_message_also_deflated(payloads: list[bytes]) -> None:
    assert read_messages(packing.deflated_frames(payloads), deflated=True) == payloads


def test_a_deflated_message_is_the_same_whatever_came_before_it() -> None:
    payload = b'{"type":"records"}' * 50
    first = packing.deflated_frames([payload])

    packing.deflated_frames([b"something else " * 100])

    assert packing.deflated_frames([payload]) == first
    assert packing.deflated_frames([payload, payload]) == first + first


def test_long_messages_are_made_smaller() -> None:
    payload = b'{"symbol":"BTCUSDT","side":"SELL"}' * 100

    assert len(packing.deflated_frames([payload])) < len(payload) / 10


@pytest.mark.parametrize("length", [0, 1, packing.DEFLATE_MIN - 1])
def test_short_messages_are_not_worth_deflating(length: int) -> None:
    payload = b"a" * length

    assert packing.deflated_frames([payload]) == packing.frames([payload])


@pytest.mark.parametrize("pack", [packing.plain, packing.frames, packing.deflated_frames])
def test_nothing_is_no_bytes(pack: packing.Pack) -> None:
    assert pack([]) == b""
