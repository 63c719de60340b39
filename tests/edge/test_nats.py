"""The sink `nats` and a real nats-server, which is asked by NATS's official client what it has."""

import base64
import binascii
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from flowd_nats import Config, nats
from flowd_nats.credentials import public

from flowd import testing
from flowd.plugin import Desk, Secret, Stream
from tests.edge.carrying import AGAIN, at_work, fill, killed_again_and_again, problem, sent, well
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.jetstream import JetStreamServer
from tests.edge.process import until

QUICK = 2.0
"""Seconds that the sink waits for an answer, where none comes."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[JetStreamServer]:
    with JetStreamServer(tmp_path) as found:
        yield found.start()


def carried(
    server: JetStreamServer, *streams: Stream[Any], **options: Any
) -> AbstractAsyncContextManager[Desk]:
    """The sink at work on these streams; its desk."""
    names = [stream.name for stream in streams]
    config = Config(names, server.url, timeout=options.pop("timeout", QUICK), **options)
    return at_work(nats, config, *streams)


async def test_each_record_is_a_message_with_its_json_and_its_position(
    server: JetStreamServer,
) -> None:
    stream = testing.stream("orders", ["a", "b"])

    async with carried(server, stream) as desk:
        await sent(desk, 2)

    found = await server.read("flowd.orders")
    assert [one.data for one in found] == [record.json for record in stream.read(0).records]
    assert [one.position for one in found] == [f"{stream.epoch}.1", f"{stream.epoch}.2"]
    assert [one.headers["Nats-Msg-Id"] for one in found] == [one.position for one in found]


async def test_streams_whose_names_differ_by_a_dot_are_not_mixed_up(
    server: JetStreamServer,
) -> None:
    names = ("fills.totals", "fills_totals", "fills-totals")
    streams = [testing.stream(name, [name]) for name in names]

    async with carried(server, *streams) as desk:
        await sent(desk, 3)

    for name in names:
        (only,) = await server.read(f"flowd.{name}")
        assert json.loads(only.data)["value"] == name


async def test_who_starts_again_goes_on_where_the_server_is(server: JetStreamServer) -> None:
    stream = testing.stream("orders")
    fill(stream, 700)
    async with carried(server, stream) as desk:
        await sent(desk, 700)
    fill(stream, 700)

    async with carried(server, stream) as desk:
        await sent(desk, 700)

    assert desk.tally.published == 700
    assert await server.numbers("flowd.orders") == [*range(1, 1401)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_while_the_server_is_gone_records_wait(server: JetStreamServer, number: int) -> None:
    stream = testing.stream("orders")
    fill(stream, 100)
    async with carried(server, stream) as desk:
        await sent(desk, 100)
        for turn in range(1, AGAIN + 1):
            server.tell(number)
            fill(stream, 100)

            said = await problem(desk, "cannot be reached")
            fill(stream, 100)
            server.start()
            await sent(desk, 100 + 200 * turn)

            assert f"127.0.0.1:{server.port}" in said
            assert desk.tally.problem is None
    assert await server.numbers("flowd.orders") == [*range(1, 101 + 200 * AGAIN)]


async def test_what_a_stopped_server_has_in_hand_is_not_stored_twice(
    server: JetStreamServer,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 10)
    async with carried(server, stream) as desk:
        await sent(desk, 10)
        for _ in range(3):
            server.tell(signal.SIGSTOP)
            fill(stream, 200)
            await problem(desk, "does not")
            # It is called and asked anew while what was sent before still waits to be read.
            server.tell(signal.SIGCONT)
            await well(desk)

    assert await server.numbers("flowd.orders") == [*range(1, 611)]


async def test_what_fell_off_before_it_was_sent_is_told_as_a_gap(server: JetStreamServer) -> None:
    early, stream = testing.stream("orders"), testing.stream("orders", retain=10)
    fill(early, 5)
    fill(stream, 105)
    async with carried(server, early) as desk:
        await sent(desk, 5)

    async with carried(server, stream) as desk:
        await sent(desk, 10)

    found = await server.read("flowd.orders")
    assert [json.loads(one.data) for one in found[5:6]] == [{"gap": {"first": 6, "last": 95}}]
    assert found[5].position == f"{stream.epoch}.95"
    assert [json.loads(one.data)["seq"] for one in found[6:]] == [*range(96, 106)]


async def test_a_record_larger_than_the_server_takes_is_told_as_a_gap(tmp_path: Path) -> None:
    stream = testing.stream("orders", ["small", "large" * 1000, "small"])
    with JetStreamServer(tmp_path, "max_payload: 4096") as server:
        server.start()
        async with carried(server, stream) as desk:
            await sent(desk, 3)

        found = [json.loads(one.data) for one in await server.read("flowd.orders")]
    assert [one.get("seq", one.get("gap")) for one in found] == [1, {"first": 2, "last": 2}, 3]
    assert desk.tally.dropped == {"larger than the server takes": 1}


async def test_a_record_larger_than_the_stream_takes_is_told_as_a_gap(
    server: JetStreamServer,
) -> None:
    stream = testing.stream("orders", ["small", "large" * 1000, "small"])
    await server.create("flowd.orders", max_msg_size=4096)

    async with carried(server, stream) as desk:
        await sent(desk, 3)

    found = [json.loads(one.data) for one in await server.read("flowd.orders")]
    assert [one.get("seq", one.get("gap")) for one in found] == [1, {"first": 2, "last": 2}, 3]


async def test_a_server_that_has_lost_everything_gets_all_that_is_retained(
    server: JetStreamServer, tmp_path: Path
) -> None:
    stream = testing.stream("orders")
    fill(stream, 30)
    async with carried(server, stream) as desk:
        await sent(desk, 30)
        server.tell(signal.SIGKILL)
        shutil.rmtree(tmp_path / "store")
        server.start()

        # Nothing new comes: that it is asked now and then is what finds it out.
        await sent(desk, 60)

    assert await server.numbers("flowd.orders") == [*range(1, 31)]


async def test_a_full_stream_is_said_and_nothing_of_it_skipped(server: JetStreamServer) -> None:
    stream = testing.stream("orders")
    fill(stream, 30)
    await server.create("flowd.orders", max_msgs=20, discard="new")
    async with carried(server, stream) as desk:
        await problem(desk, "maximum messages exceeded")
        assert await server.numbers("flowd.orders") == [*range(1, 21)]

        await server.do(lambda client: client.jetstream().purge_stream("flowd+orders", keep=5))
        await well(desk)

    assert await server.numbers("flowd.orders") == [*range(16, 31)]


async def test_of_two_daemons_with_one_prefix_one_says_that_there_is_another(
    server: JetStreamServer,
) -> None:
    ours = testing.stream("orders", ["ours"])
    theirs: Stream[Any] = Stream("orders", str, clock=testing.clock, epoch="other")
    theirs.append("theirs")
    async with carried(server, ours) as desk:
        await sent(desk, 1)
        async with carried(server, theirs) as other:
            await sent(other, 1)
            ours.append("ours again")

            said = await problem(desk, "another daemon")
            theirs.append("theirs again")
            await sent(other, 2)

    assert "epoch other" in said
    found = [json.loads(one.data)["value"] for one in await server.read("flowd.orders")]
    assert found == ["ours", "theirs", "theirs again"]


async def test_a_stream_that_somebody_else_fills_is_left_alone(server: JetStreamServer) -> None:
    await server.create("flowd.orders")
    await server.do(lambda client: client.jetstream().publish("flowd.orders", b"{}"))

    async with carried(server, testing.stream("orders", ["a"])) as desk:
        said = await problem(desk)

    assert "flowd did not write" in said
    assert [one.data for one in await server.read("flowd.orders")] == [b"{}"]


async def test_a_subject_that_belongs_to_another_stream_is_said(server: JetStreamServer) -> None:
    await server.create("flowd.>", name="everything")

    async with carried(server, testing.stream("orders", ["a"])) as desk:
        await problem(desk, "subjects overlap")


async def test_without_jetstream_it_says_what_is_missing(tmp_path: Path) -> None:
    with JetStreamServer(tmp_path, jetstream=False) as server:
        server.start()
        async with carried(server, testing.stream("orders", ["a"])) as desk:
            await problem(desk, "is JetStream on")


async def test_a_key_that_is_forgotten_is_a_message(server: JetStreamServer) -> None:
    table = testing.stream("totals")
    table.append("1", key="a\nb")
    table.append("2", key="c")
    async with carried(server, table) as desk:
        await sent(desk, 2)
        table.forget("a\nb")
        await until(lambda: server.read("flowd.totals"), lambda found: len(found) == 3)

    last = (await server.read("flowd.totals"))[-1]
    assert json.loads(last.data) == {"forget": "a\nb"}
    assert last.position == f"{table.epoch}.2"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ("user: u, password: secret", {"user": "u", "password": "secret"}),
        ("token: secret", {"token": "secret"}),
    ],
)
async def test_it_says_who_it_is(tmp_path: Path, settings: str, options: dict[str, str]) -> None:
    stream = testing.stream("orders", ["a"])
    with JetStreamServer(tmp_path, f"authorization {{ {settings} }}") as server:
        server.start()
        async with carried(server, stream) as desk:
            said = await problem(desk, "Authorization Violation")
        known = {
            name: value if name == "user" else Secret("here", value)
            for name, value in options.items()
        }
        async with carried(server, stream, **known) as desk:
            await sent(desk, 1)

    assert "secret" not in said


async def test_a_seed_signs_what_the_server_asks(tmp_path: Path) -> None:
    signing = pytest.importorskip("nacl.signing")
    key = signing.SigningKey(bytes(range(32)))
    raw = bytes([149, 0]) + bytes(range(32))
    seed = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()
    users = f"authorization {{ users: [ {{ nkey: {public(bytes(key.verify_key))} }} ] }}"
    with JetStreamServer(tmp_path, users) as server:
        server.start()
        stream = testing.stream("orders", ["a"])
        async with carried(server, stream, credentials=Secret("here", seed.rstrip("="))) as desk:
            await sent(desk, 1)


async def test_tls_is_spoken_and_only_with_whom_the_certificate_names(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "server.key")
    tls = f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key" }}'
    stream = testing.stream("orders", ["a"])
    with JetStreamServer(tmp_path, tls) as server:
        server.start()
        async with carried(server, stream) as desk:
            said = await problem(desk)
        async with carried(server, stream, ca=str(tmp_path / "ca.pem")) as desk:
            await sent(desk, 1)

    assert "cannot be trusted" in said


async def test_a_server_that_speaks_something_else_is_said(exchange: Exchange) -> None:
    port = int(exchange.url.rpartition(":")[2].split("/")[0])
    desk = testing.desk("nats")
    config = Config(["orders"], f"nats://127.0.0.1:{port}", timeout=QUICK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nats, config, testing.streams(testing.stream("orders")), desk)
        said = await problem(desk)
        nursery.cancel_scope.cancel()

    assert "does not" in said


async def test_of_several_servers_one_that_is_there_does(server: JetStreamServer) -> None:
    stream = testing.stream("orders", ["a"])
    desk = testing.desk("nats")
    config = Config(["orders"], f"nats://127.0.0.1:1,{server.url}", timeout=QUICK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nats, config, testing.streams(stream), desk)
        await sent(desk, 1)
        nursery.cancel_scope.cancel()


async def test_a_daemon_that_is_killed_leaves_nothing_out_and_nothing_twice(
    flowd: Start, exchange: Exchange, server: JetStreamServer
) -> None:
    sink = f'[sinks.nats]\nkind = "nats"\nurl = "{server.url}"\ninputs = ["orders"]\n'

    async def there() -> list[Any]:
        return [json.loads(one.data) for one in await server.read("flowd.orders")]

    await killed_again_and_again(flowd(extra=sink), exchange, there)
