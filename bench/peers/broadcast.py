"""The `websockets` library on asyncio with its own `broadcast`: its documented way to many clients.

Compression is off but for the shape `deflate`, where the library compresses for each client.
"""

import argparse
import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def greet(connection: ServerConnection) -> None:
    """Keep a client until it leaves."""
    connections.add(connection)
    try:
        await connection.wait_closed()
    finally:
        connections.discard(connection)


async def main() -> None:
    """Serve until the feed ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--feed", type=int, required=True)
    parser.add_argument("--shape", choices=("websocket", "deflate"), required=True)
    given = parser.parse_args()
    compression = "deflate" if given.shape == "deflate" else None
    feed, _writer = await asyncio.open_connection("127.0.0.1", given.feed)
    async with serve(greet, "127.0.0.1", given.port, compression=compression, backlog=4_096):
        while line := await feed.readline():
            broadcast(connections, line[:-1].decode())


if __name__ == "__main__":
    asyncio.run(main())
