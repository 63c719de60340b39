"""Streams that are read with a token, as real clients come to them."""

import json
import os
import subprocess

import pytest
import trio
from websockets.exceptions import InvalidStatus

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import fetch, refused_with, sse, websocket
from tests.edge.process import COMMAND, Flowd, Raw, command, prices

TOKEN = "open sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def locked(flowd: Start, exchange: Exchange) -> Flowd:
    """A daemon whose streams are read with a token, and that has five orders."""
    token = Raw('{ env = "EDGE_READ_TOKEN" }')
    daemon = await flowd(read_token=token, env={"EDGE_READ_TOKEN": TOKEN}).start()
    newest = exchange.say(5)[-1]

    async def reached() -> list[int]:
        return prices((await daemon.get("/streams/orders", **BEARER)).json)

    await daemon.until(reached, lambda found: found[-1:] == [newest])
    return daemon


async def ticket(daemon: Flowd) -> str:
    answer = await fetch(daemon.port, "/tickets", "POST", headers=BEARER)
    assert answer.status == 200
    return str(answer.json["ticket"])


async def test_an_event_source_follows_with_a_ticket(flowd: Start, exchange: Exchange) -> None:
    daemon = await locked(flowd, exchange)
    found = await ticket(daemon)

    async with sse(daemon.port, "/sse/orders") as events:
        assert (events.status, events.headers["www-authenticate"]) == (401, "Bearer")
    async with sse(daemon.port, f"/sse/orders?limit=1&ticket={found}") as events:
        assert (await events.next()).ordinal == 5
    async with sse(daemon.port, "/sse/orders?limit=1", headers=BEARER) as events:
        assert (await events.next()).ordinal == 5

    await daemon.stop()
    assert found not in daemon.log
    assert TOKEN not in daemon.log


async def test_a_websocket_follows_with_a_ticket_and_is_told_how_without(
    flowd: Start, exchange: Exchange
) -> None:
    daemon = await locked(flowd, exchange)

    async with websocket(daemon.port, "/ws?streams=orders&limit=1") as peer:
        error = await peer.next("error")
        await peer.say({"action": "subscribe", "streams": ["outages"], "id": 1})
        again = await peer.next("error")
    path = f"/ws?streams=orders&limit=1&ticket={await ticket(daemon)}"
    async with websocket(daemon.port, path) as peer:
        records = await peer.next("records")

    assert (error["code"], again["code"], again["id"]) == ("UNAUTHORIZED", "UNAUTHORIZED", 1)
    assert error["message"].startswith("orders ")
    assert "POST /tickets" in error["allowed"]
    assert prices(records) == [5]


async def test_tail_shows_the_token_of_its_environment(flowd: Start, exchange: Exchange) -> None:
    daemon = await locked(flowd, exchange)
    tail = [*COMMAND, "tail", "orders", "-n", "1", "--url", f"http://127.0.0.1:{daemon.port}"]
    env = {**os.environ, "FLOWD_READ_TOKEN": TOKEN}

    process = await trio.lowlevel.open_process(tail, env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = await process.stdout.receive_some()
    process.terminate()
    await process.wait()
    stranger = command("tail", "orders", "--url", f"http://127.0.0.1:{daemon.port}")

    assert json.loads(line)["seq"] == 5
    assert stranger.returncode == 2
    assert "orders is read with a token" in stranger.stderr


async def test_a_websocket_with_a_wrong_token_is_refused_at_once(
    flowd: Start, exchange: Exchange
) -> None:
    daemon = await locked(flowd, exchange)

    with pytest.raises(InvalidStatus) as refused:
        async with websocket(daemon.port, "/ws?streams=orders&ticket=1.2.3"):
            pass

    status, error = refused_with(refused.value)
    assert (status, error["code"]) == (401, "UNAUTHORIZED")
