"""What an edge has of its ingest daemon beside the streams: what is done there, and what is fetched
from the exchange for who asks. All of them real processes, and a real Redis between them.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.edge.futures import Futures
from tests.edge.peers import Answer, fetch
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd
from tests.edge.redis import RedisServer

INGEST = """
[sources.candles-1m]
kind = "binance-candles"
interval = "1m"
symbols = ["BTCUSDT"]
url = "{at.market}"
rest_url = "{at.rest}"

[transforms.alert-lines]
kind = "alert-lines"
input = "candles-1m"

[sinks.candles]
kind = "candles"
inputs = ["candles-1m"]

[sinks.lines]
kind = "alert-lines-http"

[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["*"]
"""
EDGE = """
[sources.upstream]
kind = "redis"
url = "{url}"

[sinks.relay]
kind = "relay"
url = "http://127.0.0.1:{port}"
timeout = "15s"
paths = ["/api/v1/candles", "/api/v1/candles/*", "/api/v1/alert-lines"]
writes = ["/api/v1/alert-lines", "/api/v1/alert-lines/{{id}}"]
"""
LINES = "/api/v1/alert-lines"
TOKEN = {"Authorization": f"Bearer {ADMIN['EDGE_ADMIN_TOKEN']}"}


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Flowd, Flowd]]:
    """The ingest daemon, and an edge with no token of its own."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis", "--appendonly", "no"))
        await redis.start()
        futures = stack.enter_context(Futures("BTCUSDT", "ETHUSDT"))
        text = INGEST.format(at=futures.at, url=redis.url)
        settings = {"admin_token": ADMIN_TOKEN}
        ingest = Flowd(folder / "ingest", None, extra=text, settings=settings, env=ADMIN)
        await stack.enter_context(ingest).start()
        text = EDGE.format(url=redis.url, port=ingest.port)
        edge = stack.enter_context(Flowd(folder / "edge", None, extra=text))
        await edge.start()
        yield ingest, edge
        for daemon in (edge, ingest):
            await daemon.stop()
            assert "Traceback" not in daemon.log


async def send(daemon: Flowd, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    content = b"" if body is None else json.dumps(body).encode()
    return await fetch(daemon.port, path, method=method, body=content, headers=headers)


async def test_a_line_that_is_set_at_an_edge_is_watched_by_the_ingest_and_known_everywhere(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (ingest, edge):
        line = {"symbol": "BTCUSDT", "price": "1"}
        refused = await send(edge, "POST", LINES, line, Authorization="Bearer guess")
        made = await send(edge, "POST", LINES, line, **TOKEN)
        id = made.json["line"]["id"]

        async def mirrored() -> list[Any]:
            return (await edge.poll(stream="alert-lines.lines"))["records"]

        await edge.until(mirrored, lambda found: [one["value"]["id"] for one in found] == [id])
        listed = [(await daemon.get(LINES)).json["count"] for daemon in (ingest, edge)]
        gone = await send(edge, "DELETE", f"{LINES}/{id}", **TOKEN)
        await edge.until(partial(edge.get, LINES), lambda answer: answer.json["count"] == 0)

    assert (refused.status, made.status, gone.status) == (401, 201, 200)
    assert listed == [1, 1]


async def test_candles_of_any_symbol_are_had_at_an_edge_and_followed_there(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (_, edge):
        asked = await edge.get("/api/v1/candles/ETHUSDT/1m?limit=5")
        nobody = await edge.get("/api/v1/candles/NOBODY/1m")

        followed = await edge.until(
            partial(edge.poll, "?limit=1&symbol=ETHUSDT", "candles-1m.asked"),
            lambda found: found["records"],
        )

    assert (asked.status, len(asked.json["data"])) == (200, 5)
    assert nobody.status == 400
    assert followed["records"][0]["value"]["symbol"] == "ETHUSDT"
