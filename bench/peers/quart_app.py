"""Quart on Hypercorn with Trio, answering polls with a body that was compressed once.

The best a route in that stack can do: no work per request but the framework's and the server's.
"""

import argparse
import gzip
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request
from quart_trio import QuartTrio

ETAG = '"k3v9.5000"'


def app_for(body: bytes) -> QuartTrio:
    """The application, which answers with this body, compressed beforehand."""
    app = QuartTrio(__name__)
    compressed = gzip.compress(body, mtime=0)
    headers = {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "ETag": ETAG,
        "Vary": "Accept-Encoding",
    }

    @app.get("/streams/force-orders")
    async def snapshot() -> Response:
        if request.headers.get("If-None-Match") == ETAG:
            return Response(b"", 304, {"ETag": ETAG})
        return Response(compressed, 200, headers)

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True)
    given = parser.parse_args()
    config = Config()
    config.bind = [f"127.0.0.1:{given.port}"]
    config.errorlog = "-"
    # As many answers on one connection as a run asks for; the default closes it after 1 000.
    config.keep_alive_max_requests = 10_000_000
    trio.run(partial(serve, app_for(given.body.read_bytes()), config))


if __name__ == "__main__":
    main()
