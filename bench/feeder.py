"""The upstream of the benchmark: a scripted exchange for flowd, a line of text for each peer.

Run as a process of its own, commanded by one JSON object per line on standard input, answering with
one per line on standard output. It ends when its standard input does. Everything it sends is built
before the clock starts, so that it needs little of the core it shares with the load generator.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from . import wire

JOIN_MAX = 64
LIVENESS_S = 1.0


class Reader:
    """One connection that wants the feed; `rest` is what its socket did not take yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.rest = b""
        self.open = True
        self.ready = True

    def send(self, data: bytes) -> None:
        """Send what the socket takes now; the rest waits for `flush`."""
        self.rest += data
        self.flush()

    def flush(self) -> None:
        """Send on what had to wait."""
        while self.rest and self.open:
            try:
                sent = self.sock.send(self.rest)
            except BlockingIOError:
                return
            except OSError:
                self.open = False
                return
            self.rest = self.rest[sent:]

    def receive(self) -> None:
        """Read and forget: a line reader says nothing, a publisher gets answers nobody needs."""
        self.read()

    def read(self) -> bytes:
        """What has come; nothing more comes once `open` is false."""
        try:
            data = self.sock.recv(65_536)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.open = False
        return data


class Exchange(Reader):
    """A client of the scripted exchange: combined streams over WebSocket, SUBSCRIBE and pings."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.protocol = ServerProtocol()
        self.ready = False

    def receive(self) -> None:
        """Shake hands, acknowledge subscriptions, answer pings."""
        data = self.read()
        if data:
            self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
                self.ready = True
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.acknowledge(json.loads(bytes(event.data)))
        for out in self.protocol.data_to_send():
            if out:
                self.send(out)
            else:
                self.open = False

    def acknowledge(self, command: dict[str, Any]) -> None:
        """The exchange's answer to a control message."""
        answer = json.dumps({"result": None, "id": command.get("id")})
        self.protocol.send_text(answer.encode())


class Emission:
    """A run of prebuilt messages that is due at a rate, or as fast as the readers take it."""

    def __init__(self, messages: list[bytes], rate: float | None, readers: list[Reader]) -> None:
        self.messages = messages
        self.rate = rate
        self.readers = readers
        self.sent = 0
        self.left: list[float] = []
        """When each left, by the wall clock."""
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether all is out, with nothing waiting in our own memory."""
        return self.sent == len(self.messages) and not any(r.rest and r.open for r in self.readers)

    def advance(self) -> float:
        """Send what is due; returns the seconds until more is, or 0 while a socket is full."""
        for reader in self.readers:
            reader.flush()
        if any(reader.rest and reader.open for reader in self.readers):
            return 0.001
        due = len(self.messages)
        if self.rate is not None:
            due = min(due, int((time.monotonic() - self.started) * self.rate) + 1)
        while self.sent < due:
            ahead = min(due, self.sent + JOIN_MAX)
            chunk = b"".join(self.messages[self.sent : ahead])
            self.left += [time.time()] * (ahead - self.sent)
            self.sent = ahead
            for reader in self.readers:
                reader.send(chunk)
            if any(reader.rest and reader.open for reader in self.readers):
                return 0.001
        if self.rate is None or self.sent == len(self.messages):
            return 0.0
        return max(0.0, self.started + self.sent / self.rate - time.monotonic())


class Feeder:
    """Both listeners, their readers and the emission under way, in one loop over epoll."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.watched: dict[int, Callable[[], None]] = {}
        self.readers: dict[str, list[Reader]] = {"exchange": [], "line": [], "publish": []}
        self.exchange = self.listen("exchange", Exchange)
        self.line = self.listen("line", Reader)
        self.form = ""
        self.index = 0
        self.emission: Emission | None = None
        self.times = False
        self.waiting: tuple[str, float] | None = None
        self.liveness = time.monotonic() + LIVENESS_S
        self.commands = b""
        self.running = True
        self.watch(sys.stdin.fileno(), self.hear)

    def listen(self, kind: str, reader: type[Reader]) -> socket.socket:
        """A port of its own for one kind of reader."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setblocking(False)

        def accept() -> None:
            sock, _address = listener.accept()
            self.add(kind, reader(sock))

        self.watch(listener.fileno(), accept)
        return listener

    def add(self, kind: str, reader: Reader) -> None:
        """Take a reader in."""
        self.readers[kind].append(reader)

        def receive() -> None:
            reader.receive()
            if not reader.open:
                self.drop(kind, reader)

        self.watch(reader.sock.fileno(), receive)

    def drop(self, kind: str, reader: Reader) -> None:
        """Let a reader go."""
        self.readers[kind].remove(reader)
        self.watched.pop(reader.sock.fileno(), None)
        with suppress(OSError):
            self.epoll.unregister(reader.sock.fileno())
        reader.sock.close()

    def watch(self, fileno: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever there is something to read."""
        self.watched[fileno] = ready
        self.epoll.register(fileno, select.EPOLLIN)

    def run(self) -> None:
        """Say the ports, then serve until standard input ends."""
        ports = {"exchange": self.exchange.getsockname()[1], "line": self.line.getsockname()[1]}
        answer(ports)
        while self.running:
            pause = self.advance()
            for fileno, _event in self.epoll.poll(pause):
                if ready := self.watched.get(fileno):
                    ready()

    def advance(self) -> float:
        """Do what is due and say how long nothing will be."""
        now = time.monotonic()
        if now >= self.liveness:
            self.liveness = now + LIVENESS_S
            alive = wire.frame(wire.mark_price(now_ms()))
            for reader in self.readers["exchange"]:
                if reader.ready:
                    reader.send(alive)
        if self.waiting:
            kind, deadline = self.waiting
            if any(reader.ready for reader in self.readers[kind]):
                self.waiting = None
                answer({"ready": True})
            elif now > deadline:
                self.waiting = None
                answer({"ready": False})
        pause = self.liveness - now
        if self.emission:
            pause = min(pause, self.emission.advance())
            if self.emission.done:
                ended: dict[str, Any] = {"ended": time.monotonic()}
                if self.times:
                    ended["left"] = self.emission.left
                answer({"started": self.emission.started, **ended})
                self.emission = None
        return min(max(0.0, pause), 0.02 if self.waiting else 1.0)

    def hear(self) -> None:
        """Carry out the commands that came in."""
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            self.running = False
        self.commands += data
        while b"\n" in self.commands:
            line, _, self.commands = self.commands.partition(b"\n")
            command = json.loads(line)
            getattr(self, "do_" + command.pop("do"))(**command)

    def do_wait(self, to: str, timeout_s: float) -> None:
        """Answer when somebody reads the feed."""
        self.waiting = (to, time.monotonic() + timeout_s)

    def do_publish_to(self, port: int, form: str) -> None:
        """Publish messages to a server that wants them so."""
        for reader in list(self.readers["publish"]):
            self.drop("publish", reader)
        self.form = form
        try:
            publisher = Reader(socket.create_connection(("127.0.0.1", port)))
        except OSError as error:
            # Who does not listen takes no part in this; the others do.
            answer({"error": f"port {port}, where it takes messages: {error.strerror}"})
            return
        publisher.send(wire.HELLOS.get(form, b""))
        self.add("publish", publisher)
        answer({"ready": True})

    def do_emit(
        self,
        to: str,
        count: int,
        rate: float | None,
        shape: str = "",
        length: int = 0,
        times: bool = False,
    ) -> None:
        """Build `count` messages, then send them; the answer comes when the last one is out, and
        tells on demand when each left.
        """
        self.times = times
        first, self.index = self.index, self.index + count
        messages = [self.build(to, shape, first + n, length) for n in range(count)]
        answer({"first": first})
        readers = [reader for reader in self.readers[to] if reader.ready]
        self.emission = Emission(messages, rate, readers)

    def build(self, to: str, shape: str, index: int, length: int) -> bytes:
        """One message in the form that its readers want."""
        if to == "exchange":
            return wire.frame(wire.force_order(now_ms()))
        if shape == "plain":
            return wire.plain(length)
        make = wire.record if shape == "sse" else wire.records_message
        text = make(index, length).encode()
        if to == "line":
            return text + b"\n"
        return wire.FORMS[self.form](text, shape)


def now_ms() -> int:
    """Wall time in milliseconds."""
    return time.time_ns() // 1_000_000


def answer(value: dict[str, Any]) -> None:
    """One line to whoever commands this process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Feeder().run()
