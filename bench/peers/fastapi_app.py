"""FastAPI on uvicorn, sending to one client after the other with a deadline of a second for each.

This is how the pages' first servers passed market data on; a client that misses the deadline is
dropped. It runs on uvloop and httptools where they are installed, as FastAPI recommends.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

DEADLINE_S = 1.0


def app_for(feed_port: int) -> FastAPI:
    """The application, which passes on the lines of this feed."""
    clients: list[WebSocket] = []

    async def relay() -> None:
        feed, _writer = await asyncio.open_connection("127.0.0.1", feed_port)
        while line := await feed.readline():
            text = line[:-1].decode()
            for client in list(clients):
                try:
                    await asyncio.wait_for(client.send_text(text), DEADLINE_S)
                except (TimeoutError, WebSocketDisconnect, RuntimeError):
                    if client in clients:
                        clients.remove(client)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(relay())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def follow(client: WebSocket) -> None:
        await client.accept()
        clients.append(client)
        try:
            while True:
                await client.receive_text()
        except WebSocketDisconnect:
            if client in clients:
                clients.remove(client)

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--feed", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(
        app_for(given.feed),
        host="127.0.0.1",
        port=given.port,
        backlog=4_096,
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
