"""The floor: a Trio loop that sends each prebuilt message to every raw socket, and does no more.

No cursors, no resume, no care for slow clients: one whose socket is full is dropped. What is left
is the price of the kernel's `send`, which nobody can undercut except by sending less often.
"""

import argparse
import base64
import hashlib
import socket

import trio

from bench import wire

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
)


def websocket_head(request: bytes) -> bytes:
    """The answer to a WebSocket handshake."""
    key = next(
        line.partition(b":")[2].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    return UPGRADE % base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest())


def event(number: int, line: bytes) -> bytes:
    """One record as a Server-Sent Event."""
    return b"id: k3v9.%d\ndata: %b\n\n" % (number, line)


class Bare:
    """The connected sockets, and a loop over them."""

    def __init__(self, shape: str) -> None:
        self.websocket = shape == "websocket"
        self.sockets: list[socket.socket] = []
        self.number = 0

    async def accept(self, listener: socket.socket) -> None:
        """Take clients for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                sock, _address = listener.accept()
                nursery.start_soon(self.greet, sock)

    async def greet(self, sock: socket.socket) -> None:
        """Answer a client's request head; from then on it gets every message."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            await trio.lowlevel.wait_readable(sock)
            data = sock.recv(4_096)
            if not data:
                return sock.close()
            request += data
        sock.send(websocket_head(request) if self.websocket else EVENTS)
        self.sockets.append(sock)

    async def relay(self, feed: socket.socket) -> None:
        """Pass on each line of the feed."""
        feed.setblocking(False)
        rest = b""
        while True:
            await trio.lowlevel.wait_readable(feed)
            data = feed.recv(65_536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.number += 1
                self.send(wire.frame(line) if self.websocket else event(self.number, line))

    def send(self, data: bytes) -> None:
        """One pass over all clients; a socket that does not take all is closed."""
        size = len(data)
        refused = []
        for sock in self.sockets:
            try:
                if sock.send(data) != size:
                    refused.append(sock)
            except OSError:
                refused.append(sock)
        for sock in refused:
            self.sockets.remove(sock)
            sock.close()


async def main() -> None:
    """Serve until the feed ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--feed", type=int, required=True)
    parser.add_argument("--shape", choices=("websocket", "sse"), required=True)
    given = parser.parse_args()
    bare = Bare(given.shape)
    feed = socket.create_connection(("127.0.0.1", given.feed))
    listener = socket.create_server(("127.0.0.1", given.port), backlog=4_096)
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bare.accept, listener)
        await bare.relay(feed)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
