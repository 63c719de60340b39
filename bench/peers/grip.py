"""The back end that Pushpin needs: it holds every request open on one channel, and says no more.

A plain request becomes a stream of Server-Sent Events; a WebSocket comes as Pushpin's
WebSocket-over-HTTP, is accepted, and subscribed to the same channel.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import wire

SUBSCRIBE = b"c:" + json.dumps({"type": "subscribe", "channel": wire.CHANNEL}).encode()
ACCEPTED = b"OPEN\r\n" + b"TEXT %x\r\n%b\r\n" % (len(SUBSCRIBE), SUBSCRIBE)


class Backend(BaseHTTPRequestHandler):
    """Answers Pushpin's questions."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A client of Server-Sent Events: hold it."""
        held = {"Grip-Hold": "stream", "Grip-Channel": wire.CHANNEL}
        self.answer(b"", {"Content-Type": "text/event-stream", **held})

    def do_POST(self) -> None:
        """A WebSocket's events: accept it when it opens, close it when it closes."""
        events = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = ACCEPTED if events.startswith(b"OPEN") else b""
        self.answer(
            answer,
            {"Content-Type": "application/websocket-events", "Sec-WebSocket-Extensions": "grip"},
        )

    def answer(self, body: bytes, headers: dict[str, str]) -> None:
        """A whole response."""
        self.send_response(200)
        for name, value in (*headers.items(), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """One thread for each of Pushpin's connections."""

    daemon_threads = True
    request_queue_size = 1024


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    Server(("127.0.0.1", given.port), Backend).serve_forever()


if __name__ == "__main__":
    main()
