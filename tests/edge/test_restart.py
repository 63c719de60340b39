"""The end of a daemon and its next start: what clients are told, what is kept, what begins anew."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange, order
from tests.edge.peers import UPGRADE, WAIT_S, connect, http, request, sse, websocket
from tests.edge.process import Flowd, command, prices


def saved(state: Path) -> tuple[bool, str, int, list[int]]:
    """What lies in a state file: closed cleanly or not, the epoch, the seq, the orders' numbers."""
    # A copy, so that the daemon's next start finds what it left.
    copy = state.with_name("copy.db")
    for suffix in ("", "-wal"):
        if Path(f"{state}{suffix}").exists():
            shutil.copy(f"{state}{suffix}", f"{copy}{suffix}")
    connection = sqlite3.connect(copy)
    try:
        (clean,) = connection.execute("SELECT value FROM meta WHERE name = 'clean'").fetchone()
        found = connection.execute("SELECT epoch, seq FROM streams WHERE name = 'orders'")
        epoch, seq = found.fetchone() or ("", 0)
        rows = connection.execute(
            "SELECT json FROM records WHERE stream = 'orders' ORDER BY seq"
        ).fetchall()
        return bool(clean), epoch, seq, [int(json.loads(row)["value"]["price"]) for (row,) in rows]
    finally:
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


# -- stopping --


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_a_goodbye_to_everybody_and_a_clean_snapshot(
    flowd: Start, exchange: Exchange, number: int
) -> None:
    with flowd(save_every="1h") as daemon:
        await daemon.start()
        path, gzip = "/ws?streams=orders", {"Accept-Encoding": "gzip"}
        async with (
            websocket(daemon.port, path) as plain,
            websocket(daemon.port, path, deflate=True) as packed,
            websocket(daemon.port) as idle,
            sse(daemon.port) as events,
            sse(daemon.port, headers=gzip) as packed_events,
        ):
            exchange.say(20)
            await daemon.reached(20)
            began = time.monotonic()
            await daemon.stop(number)
            took_s = time.monotonic() - began

            for ws in (plain, packed, idle):
                assert (await ws.goodbye())[0] == 1001
            for one in (events, packed_events):
                told = await one.rest()
                assert (told[-1].name, told[-1].retry) == ("goodbye", 2000)
                orders = [event.ordinal for event in told[:-1] if event.data]
                assert orders == list(range(1, 21))

        assert took_s < 5
        assert daemon.log.rstrip().endswith("stopped; state saved")
        clean, _, seq, numbers = saved(daemon.state)
        assert (clean, seq, numbers) == (True, 20, list(range(1, 21)))


async def test_stalled_clients_of_every_kind_do_not_delay_the_end(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(send_buffer="4KiB", slow_consumer_limit="1h") as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(2000)[-1])
        get = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
        asked = [
            get.format("/sse/orders"),
            request("/ws?streams=orders", headers=UPGRADE).decode(),
            get.format("/streams/orders"),
            get.format("/streams/orders") * 100,
            get.format("/status") * 100,
            get.format("/openapi.json") * 100,
            "GET /stat",
            "POST /components/orders/reconnect HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
            "",
        ]
        streams = [await connect(daemon.port, receive_buffer=4096) for _ in asked]
        for stream, text in zip(streams, asked, strict=True):
            await stream.send_all(text.encode())
        async with http(daemon.port) as kept:
            await kept.ask("/health")
            await daemon.settled(lambda found: found["clients"]["behind"] == 2)

            await daemon.stop()

        assert saved(daemon.state)[0] is True
        assert "Traceback" not in daemon.log
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_an_exchange_that_never_answers_does_not_delay_the_end(flowd: Start) -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    with flowd() as daemon:
        daemon.source["url"] = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/market"
        daemon.write()
        await daemon.start(delivering=False)
        with trio.fail_after(WAIT_S):
            dialled = await listener.accept()

        began = time.monotonic()
        await daemon.stop()

        assert time.monotonic() - began < 5
        await dialled.aclose()
        await listener.aclose()


async def test_a_second_signal_ends_it_at_once(flowd: Start, exchange: Exchange) -> None:
    with flowd(send_buffer="4KiB") as daemon:
        await daemon.start()
        stalled = await connect(daemon.port, receive_buffer=4096)
        await stalled.send_all(b"GET /sse/orders HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange.say(2000)
        await daemon.settled(lambda found: found["clients"]["behind"] == 1)

        daemon.tell(signal.SIGTERM)
        await daemon.until(partial(log, daemon), lambda text: "stopping" in text)
        daemon.tell(signal.SIGTERM)

        # In order it would be 0.
        assert await daemon.ended() == 1
        await trio.aclose_forcefully(stalled)


async def log(daemon: Flowd) -> str:
    await trio.lowlevel.checkpoint()
    return daemon.log


# -- coming back --


async def test_after_a_clean_stop_every_kind_of_reader_goes_on_as_if_nothing_had_happened(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(10)[-1])
        before = await daemon.poll()
        async with websocket(daemon.port, "/ws?streams=orders") as ws:
            (held,) = await ws.upto(10)
        async with sse(daemon.port) as events:
            last_id = (await events.upto(10))[-1].id
        fourth = before["position"].replace(".10", ".4")
        await daemon.stop()

        await daemon.start()
        after = await daemon.poll()
        newer = await daemon.poll(f"?after={fourth}")
        tag = f'"{before["position"]}"'
        assert (await daemon.get("/streams/orders", If_None_Match=tag)).status == 304
        assert last_id == held["position"]
        headers = {"Last-Event-ID": fourth}
        async with (
            websocket(daemon.port, f"/ws?streams=orders&after={fourth}") as ws,
            websocket(daemon.port, f"/ws?streams=orders&after={held['position']}") as level,
            sse(daemon.port, headers=headers) as events,
        ):
            exchange.say(3)
            by_websocket = await ws.upto(13)
            from_level = await level.upto(13)
            by_events = await events.upto(13)
        by_poll = await daemon.reached(13)

        assert after == before
        assert (prices(newer), newer["gap"], newer["reset"]) == ([5, 6, 7, 8, 9, 10], None, False)
        assert {message["type"] for message in by_websocket + from_level} == {"records"}
        assert not any(message["first"] for message in by_websocket + from_level)
        assert [n for message in by_websocket for n in prices(message)] == list(range(5, 14))
        assert [n for message in from_level for n in prices(message)] == [11, 12, 13]
        assert [event.ordinal for event in by_events if event.data] == list(range(5, 14))
        assert all(event.name == "message" for event in by_events)
        assert [record["seq"] for record in by_poll["records"]] == list(range(1, 14))


async def test_no_sequence_number_is_given_twice_however_often_it_is_restarted(
    flowd: Start, exchange: Exchange
) -> None:
    seen: dict[str, object] = {}
    with flowd(save_every="1h") as daemon:
        for _ in range(3):
            await daemon.start()
            found = await daemon.reached(exchange.say(5)[-1])
            epoch = found["position"].partition(".")[0]
            for record in found["records"]:
                position = f"{epoch}.{record['seq']}"
                assert seen.setdefault(position, record) == record
            await daemon.stop()

    assert len(seen) == 15


async def test_an_order_told_again_after_a_restart_is_not_counted_again(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(5)[-1])
        await daemon.stop()
        await daemon.start()

        exchange.send([json.dumps(order(n)) for n in range(1, 6)])
        found = await daemon.reached(exchange.say()[-1])

        assert prices(found) == [1, 2, 3, 4, 5, 6]
        assert (await daemon.status())["components"][0]["duplicates"] == 5


async def test_the_time_between_two_runs_is_recorded_as_an_outage(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        for end in (daemon.stop, daemon.kill):
            await daemon.start()
            await daemon.reached(exchange.say()[-1])
            await daemon.settled(lambda found: found["snapshot"]["saves"] > 1)
            await end()
            await daemon.start()
            outage = (await daemon.poll(stream="outages"))["records"][-1]["value"]
            await daemon.stop()

            reason = "stopped" if end == daemon.stop else "the daemon was not running"
            assert (outage["component"], outage["reason"]) == ("orders", reason)
            assert outage["from_ms"] < outage["to_ms"]


# -- after a crash --


def journal(state: Path) -> list[Path]:
    return sorted(state.parent.glob(f"{state.name}.journal-*"))


@pytest.mark.parametrize("seed", range(4))
async def test_kill_9_is_noticed_by_nobody(flowd: Start, exchange: Exchange, seed: int) -> None:
    random = Random(seed)
    with flowd(save_every=f"{random.randint(50, 1500)}ms") as daemon:
        await daemon.start()
        for _ in range(3):
            before = (await daemon.poll("?limit=0"))["position"]
            said = exchange.say(random.choice([1, 7, 300, 3000]))
            if random.random() < 0.7:
                await daemon.reached(said[random.randrange(len(said))])
            # Anywhere between two saves, or in one.
            await trio.sleep(random.random() * 0.15)
            shown = await daemon.poll()
            await daemon.kill()

            await daemon.start()
            found = await daemon.poll()
            resumed = await daemon.poll(f"?after={before}")
            async with (
                websocket(daemon.port, f"/ws?streams=orders&after={before}") as ws,
                sse(daemon.port, headers={"Last-Event-ID": before}) as events,
            ):
                if resumed["records"]:
                    message, event = await ws.message(), await events.next()

            epoch, _, seq = shown["position"].partition(".")
            again, _, newest = found["position"].partition(".")
            assert (again, int(newest) >= int(seq)) == (epoch, True)
            assert prices(found)[: len(prices(shown))] == prices(shown)
            assert (resumed["reset"], resumed["gap"]) == (False, None)
            if resumed["records"]:
                assert (message["type"], message["first"]) == ("records", False)
                assert message["records"][0] == resumed["records"][0]
                assert event.json == resumed["records"][0]


async def test_what_was_shown_before_kill_9_does_not_come_again(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(save_every="1h") as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(10)[-1])
        await daemon.kill()
        await daemon.start()

        exchange.send([json.dumps(order(n)) for n in range(1, 11)])
        found = await daemon.reached(exchange.say()[-1])

        assert prices(found) == list(range(1, 12))


async def test_a_stream_that_is_away_for_a_run_after_kill_9_goes_on_when_it_is_back(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(save_every="1h") as daemon:
        await daemon.start()
        old = (await daemon.reached(exchange.say(3)[-1]))["position"]
        await daemon.kill()
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("[sources.orders]", "[sources.others]"))
        await daemon.start()
        await daemon.stop()
        daemon.config.write_text(text)
        await daemon.start()

        found = await daemon.poll(f"?after={old}")

        assert (found["reset"], found["gap"], found["position"]) == (False, None, old)


# -- when the memory is not what it was --


def lose_journal(daemon: Flowd) -> None:
    for path in journal(daemon.state):
        path.unlink()


def cut_journal(daemon: Flowd) -> None:
    path = journal(daemon.state)[-1]
    os.truncate(path, path.stat().st_size - 40)


def spoil_journal(daemon: Flowd) -> None:
    path = journal(daemon.state)[-1]
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


def lose_wal(daemon: Flowd) -> None:
    """What surely was on the disk: a WAL's header, and what was checkpointed."""
    os.truncate(f"{daemon.state}-wal", 32)


@pytest.mark.parametrize("trouble", [lose_journal, cut_journal, spoil_journal, lose_wal])
async def test_where_something_is_gone_clients_are_told_and_no_number_means_another_record(
    flowd: Start, exchange: Exchange, trouble: Callable[[Flowd], None]
) -> None:
    with flowd(save_every="200ms") as daemon:
        await daemon.start()
        for _ in range(4):
            shown = await daemon.reached(exchange.say(20)[-1])
            await trio.sleep(0.25)
        shown = await daemon.reached(exchange.say(5)[-1])
        await daemon.kill()
        trouble(daemon)
        await daemon.start()
        await daemon.reached(exchange.say(3)[-1])

        resumed = await daemon.poll(f"?after={shown['position']}")

        assert resumed["reset"] is True
        assert resumed["position"].partition(".")[0] != shown["position"].partition(".")[0]
        assert "all streams begin a new epoch" in daemon.log


async def test_a_copy_that_is_put_back_begins_a_new_epoch(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(5)[-1])
        await daemon.stop()
        copy = daemon.state.read_bytes()
        await daemon.start()
        shown = await daemon.reached(exchange.say(5)[-1])
        await daemon.stop()
        daemon.state.write_bytes(copy)
        await daemon.start()
        await daemon.reached(exchange.say(9)[-1])

        resumed = await daemon.poll(f"?after={shown['position']}")

        assert resumed["reset"] is True


async def test_rows_that_somebody_took_out_are_missed(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        shown = await daemon.reached(exchange.say(50)[-1])
        await daemon.stop()
        with contextlib.closing(sqlite3.connect(daemon.state)) as connection, connection:
            connection.execute(
                "DELETE FROM records WHERE stream = 'orders' AND seq BETWEEN 10 AND 20"
            )
        await daemon.start()

        resumed = await daemon.poll(f"?after={shown['position'].partition('.')[0]}.5")

        assert resumed["reset"] is True
        assert "is damaged" in daemon.log


async def test_a_digit_that_flipped_is_not_served(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(5)[-1])
        await daemon.stop()
        with contextlib.closing(sqlite3.connect(daemon.state)) as connection, connection:
            connection.execute(
                'UPDATE records SET json = CAST(replace(CAST(json AS TEXT), \'"price":"3"\', '
                "'\"price\":\"7\"') AS BLOB) WHERE stream = 'orders' AND seq = 3"
            )
        await daemon.start()

        found = await daemon.poll()

        assert prices(found) == [1, 2, 4, 5]
        assert "is damaged" in daemon.log


async def test_a_state_file_that_is_replaced_while_it_runs_is_noticed(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(save_every="100ms") as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(5)[-1])
        daemon.state.rename(daemon.state.with_suffix(".away"))
        await daemon.settled(lambda found: found["snapshot"]["error"])

        health = await daemon.get("/health")

        assert health.status == 503
        assert "cannot be saved" in health.json["problems"]["snapshot"]


# -- starts that cannot be --


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


async def test_a_second_daemon_on_the_same_state_file_is_refused(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(3)[-1])

        second = await trio.to_thread.run_sync(command, "run", "-c", str(daemon.config))

        assert second.returncode == 2
        assert "in use by another flowd" in one_line(second.stderr)
        assert (await daemon.get("/health")).status == 200
        await daemon.stop()
        assert saved(daemon.state)[3] == [1, 2, 3]


async def test_a_port_in_use_ends_the_start_with_2_and_one_line(flowd: Start) -> None:
    with flowd() as daemon, flowd() as second:
        await daemon.start()
        second.settings["listen"] = ["127.0.0.1:0", f"127.0.0.1:{daemon.port}"]
        second.write()

        ended = await trio.to_thread.run_sync(command, "run", "-c", str(second.config))

        assert ended.returncode == 2
        line = one_line(ended.stderr)
        assert f"127.0.0.1:{daemon.port}" in line
        assert "in use" in line
        assert not second.state.exists()


async def test_a_killed_daemon_leaves_its_port_and_its_state_free(flowd: Start) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with websocket(daemon.port), sse(daemon.port):
            daemon.settings["listen"] = f"127.0.0.1:{daemon.port}"
            daemon.write()
            await daemon.kill()

            await daemon.start()

            assert (await daemon.get("/health")).status == 200


@pytest.mark.parametrize("damage", ["text", "torn", "another database", "directory", "nowhere"])
async def test_a_state_file_that_cannot_be_used_ends_the_start_with_2_and_a_remedy(
    flowd: Start, exchange: Exchange, damage: str
) -> None:
    with flowd() as daemon:
        if damage == "text":
            daemon.state.write_text("not a database " * 1000)
        elif damage == "torn":
            await daemon.start()
            await daemon.reached(exchange.say(500)[-1])
            await daemon.stop()
            content = bytearray(daemon.state.read_bytes())
            content[4096:] = bytes(len(content) - 4096)
            daemon.state.write_bytes(content)
        elif damage == "another database":
            connection = sqlite3.connect(daemon.state)
            connection.execute("CREATE TABLE streams (something INTEGER)")
            connection.close()
        elif damage == "directory":
            daemon.state.mkdir()
        else:
            daemon.settings["state"] = "/proc/nowhere/flowd.db"
            daemon.write()

        ended = await trio.to_thread.run_sync(command, "run", "-c", str(daemon.config))

        assert ended.returncode == 2, ended.stderr
        line = one_line(ended.stderr)
        assert "flowd.state" in line
        assert "move the file away" in line


async def test_a_save_that_fails_degrades_and_the_next_one_that_works_heals(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(save_every="50ms") as daemon:
        await daemon.start()
        blocker = sqlite3.connect(daemon.state, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        exchange.say()
        sick = await daemon.settled(lambda found: found["snapshot"]["error"])
        health = await daemon.get("/health")
        served = await daemon.reached(1)
        blocker.execute("ROLLBACK")
        blocker.close()

        await daemon.settled(lambda found: found["healthy"])

        assert sick["healthy"] is False
        assert health.status == 503
        assert "snapshot" in health.json["problems"]
        assert prices(served) == [1]
        assert daemon.log.count("state cannot be saved") == 1
        await daemon.stop()
        assert saved(daemon.state)[3] == [1]
