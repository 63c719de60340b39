"""The clients of the benchmark: thousands of raw sockets in one process, counting without parsing.

Run as a process of its own on its own core, commanded by one JSON object per line on standard
input, answering with one per line on standard output; it ends when its standard input does. A
generator that parsed would be the bottleneck, so it searches the bytes for a token that every
record has once. A few sampled clients keep all their bytes, which are decoded when the clock has
stopped: the records must be there, whole and in order.
"""

import gzip
import json
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import h11
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

RECEIVE_BYTES = 256 * 1024
ADDRESSES = 8
# Linux notes when the last bytes of a read arrived: what is later is this process's own lateness.
TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
# The port is chosen when the socket is connected, so that many may share one.
BIND_ADDRESS_NO_PORT = 24
HEAD_BYTES = 2_048
CONNECT_AT_ONCE = 64
SAMPLED = 4
# Linux throws the bytes of a TCP socket away instead of copying them: half the cost of a poll.
DISCARD = socket.MSG_TRUNC
UNTOUCHED = bytearray(RECEIVE_BYTES)
# NATS sends binary messages, and its lines need not end where a message does.
CARRYING = (Opcode.TEXT, Opcode.CONT, Opcode.BINARY)


class Client:
    """One connection and how many records it has seen; `carry` joins a token cut in two."""

    __slots__ = ("carry", "heard", "kept", "receive", "records", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.receive = sock.recv_into
        self.carry: bytes | bytearray = b""
        self.records = 0
        self.kept: bytearray | None = None
        self.heard = False


class Timed:
    """A client whose every record is timed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.came: list[float] = []
        self.read: list[float] = []

    def receive(self, token: bytes) -> None:
        """Read what is there."""
        data, notes, _flags, _address = self.client.sock.recvmsg(RECEIVE_BYTES, 64)
        now = time.time()
        if not data:
            raise ConnectionError("the server closed a connection")
        came = now
        for level, kind, note in notes:
            if (level, kind) == (socket.SOL_SOCKET, TIMESTAMPNS):
                seconds, nanoseconds = TIMESPEC.unpack(note[: TIMESPEC.size])
                came = seconds + nanoseconds / 1e9
        found = count_in(self.client, data, token)
        self.came += [came] * found
        self.read += [now] * found


class WebSocketText:
    """Decodes a sampled WebSocket client's bytes, compressed or not."""

    def __init__(self, extensions: str) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN)
        if extensions:
            factory = ClientPerMessageDeflateFactory()
            _name, _, rest = extensions.partition(";")
            pairs = [p.strip().partition("=") for p in rest.split(";") if p.strip()]
            offered = [(name, value or None) for name, _, value in pairs]
            self.protocol.extensions = [factory.process_response_params(offered, [])]

    def decode(self, data: bytes) -> bytes:
        """The messages in `data`, one per line."""
        self.protocol.receive_data(data)
        events = self.protocol.events_received()
        return b"".join(
            event.data + (b"" if event.opcode is Opcode.BINARY else b"\n")
            for event in events
            if isinstance(event, Frame) and event.opcode in CARRYING
        )


class EventText:
    """Decodes a sampled SSE client's bytes: whatever the framing of its body is, h11 undoes it."""

    def __init__(self, head: bytes) -> None:
        self.connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=RECEIVE_BYTES)
        self.connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self.connection.send(h11.EndOfMessage())
        self.rest = b""
        self.decode(head)

    def decode(self, data: bytes) -> bytes:
        """The whole events up to the end of `data`."""
        self.connection.receive_data(data)
        body = bytearray(self.rest)
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif event is h11.NEED_DATA or event is h11.PAUSED:
                break
        whole, end, self.rest = bytes(body).rpartition(b"\n\n")
        return whole + end


class Load:
    """All clients of one run."""

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self.epoll = select.epoll()
        self.buffer = bytearray(RECEIVE_BYTES + 64)
        self.decoders: dict[int, WebSocketText | EventText] = {}
        self.token = b""

    def do_connect(
        self,
        port: int,
        head: str,
        count: int,
        token: str,
        shape: str,
        receive_bytes: int = 0,
        hello: str = "",
    ) -> dict[str, Any]:
        """Open connections, read their response heads and say hello; nothing after a head is
        lost.
        """
        started = time.monotonic()
        self.token = token.encode()
        opened: list[Client] = []
        while len(opened) < count:
            batch = min(CONNECT_AT_ONCE, count - len(opened))
            opened += open_clients(port, head.encode(), batch, receive_bytes)
        for client in opened if hello else ():
            client.sock.sendall(hello.encode("latin-1"))
        for client in opened:
            self.clients[client.sock.fileno()] = client
            self.epoll.register(client.sock.fileno(), select.EPOLLIN)
        stride = max(1, count // SAMPLED)
        for client in opened[::stride][:SAMPLED]:
            response, body = bytes(client.carry).split(b"\r\n\r\n", 1)
            if shape == "sse":
                decoder: Any = EventText(response + b"\r\n\r\n")
            else:
                decoder = WebSocketText(header_of(response, b"sec-websocket-extensions"))
            self.decoders[client.sock.fileno()] = decoder
            client.kept = bytearray(body)
        for client in opened:
            client.carry = bytes(max(0, len(self.token) - 1))
        return {"clients": len(self.clients), "seconds": time.monotonic() - started}

    def do_collect(self, count: int, timeout_s: float, quiet_s: float = 3.0) -> dict[str, Any]:
        """Receive until every client has `count` records more, or nobody gets any for a while.

        Without a token (compressed messages hide it) bytes are counted instead of records.
        """
        clients, buffer, token = self.clients, self.buffer, self.token
        carried = max(0, len(token) - 1)
        view = memoryview(buffer)[carried:]
        for client in clients.values():
            client.records = 0
            client.heard = False
        deadline = time.monotonic() + timeout_s
        pending = len(clients)
        last = time.monotonic()
        received = reads = closed = 0
        while pending:
            ready = self.epoll.poll(min(quiet_s, max(0.0, deadline - time.monotonic())))
            now = time.monotonic()
            if not ready or now > deadline:
                break
            for fileno, _event in ready:
                client = clients[fileno]
                try:
                    size = client.receive(view)
                except BlockingIOError:
                    continue
                except OSError:
                    size = 0
                if not size:
                    closed += 1
                    pending -= client.records < count
                    self.close(fileno)
                    continue
                reads += 1
                received += size
                if token:
                    buffer[:carried] = client.carry
                    found = buffer.count(token, 0, carried + size)
                    client.carry = buffer[size : size + carried]
                else:
                    found = size
                if client.kept is not None:
                    client.kept += buffer[carried : carried + size]
                if found:
                    before = client.records
                    client.records = before + found
                    if before < count <= client.records:
                        pending -= 1
            last = now
        totals = [client.records for client in clients.values()]
        return {
            "complete": not pending and not closed,
            "clients": len(clients),
            "records": sum(totals),
            "fewest": min(totals, default=0),
            "most": max(totals, default=0),
            "closed": closed,
            "bytes": received,
            "reads": reads,
            "last": last,
        }

    def do_drain(self, quiet_s: float) -> dict[str, Any]:
        """Receive until nothing comes for a while, so that the next count starts clean."""
        return self.do_collect(count=sys.maxsize, timeout_s=10.0, quiet_s=quiet_s)

    def do_time(self, count: int, sampled: int, timeout_s: float) -> dict[str, Any]:
        """When `count` records came to so many clients, and when they were read, by the wall clock.

        The others' records wait in the kernel, where there is room for a few hundred, and are
        counted afterwards: reading them all would make this process late.
        """
        everybody = list(self.clients.values())
        chosen = everybody[:: max(1, len(everybody) // sampled)][:sampled]
        timed = {client.sock.fileno(): Timed(client) for client in chosen}
        epoll = select.epoll()
        for fileno, one in timed.items():
            one.client.sock.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
            epoll.register(fileno, select.EPOLLIN)
        deadline = time.monotonic() + timeout_s
        pending = len(timed)
        while pending and time.monotonic() < deadline:
            for fileno, _event in epoll.poll(0.5):
                one = timed[fileno]
                before = len(one.read)
                one.receive(self.token)
                pending -= before < count <= len(one.read)
        for client in everybody:
            if client.sock.fileno() not in timed:
                count_records(client, self.token, count)
        everything = timed.values()
        return {"came": [one.came for one in everything], "read": [one.read for one in everything]}

    def do_verify(self) -> dict[str, Any]:
        """Decode what the sampled clients got: how many records, whole, and each after the last."""
        checked = []
        for fileno, decoder in self.decoders.items():
            if fileno not in self.clients:
                continue
            client = self.clients[fileno]
            assert client.kept is not None
            text = decoder.decode(bytes(client.kept))
            client.kept.clear()
            seqs = [record["seq"] for record in records_in(text)]
            in_order = all(b == a + 1 for a, b in pairwise(seqs))
            checked.append({"records": len(seqs), "in_order": in_order})
        return {"sampled": checked}

    def do_sample(self) -> dict[str, Any]:
        """The text that the first sampled client got since it was last looked at."""
        fileno, decoder = next(iter(self.decoders.items()))
        client = self.clients[fileno]
        assert client.kept is not None
        text = decoder.decode(bytes(client.kept))
        client.kept.clear()
        return {"text": text.decode()}

    def do_polls(
        self, port: int, head: str, connections: int, seconds: float, limit: int
    ) -> dict[str, Any]:
        """Ask the same over keep-alive connections, each again as soon as it has its answer.

        The first answer is read whole and returned for checking; of the others only the head is
        looked at and the body discarded by the kernel.
        """
        request = head.encode()
        first = ask_once(port, request)
        pollers: dict[int, Poller] = {}
        epoll = select.epoll()
        for _ in range(connections):
            poller = Poller(socket.create_connection(("127.0.0.1", port)), request)
            pollers[poller.sock.fileno()] = poller
            epoll.register(poller.sock.fileno(), select.EPOLLIN)
        started = time.monotonic()
        deadline = started + seconds
        for poller in pollers.values():
            poller.ask()
        answered = 0
        received = 0
        busy = True
        while busy:
            now = time.monotonic()
            for fileno, _event in epoll.poll(max(0.0, deadline + 10.0 - now)):
                size, done = pollers[fileno].receive()
                received += size
                if done:
                    answered += 1
                    if answered < limit and now < deadline:
                        pollers[fileno].ask()
            busy = any(poller.asked for poller in pollers.values()) and now < deadline + 10.0
        took = time.monotonic() - started
        for poller in pollers.values():
            poller.sock.close()
        return {"answered": answered, "bytes": received, "seconds": took, **first}

    def do_close(self) -> dict[str, Any]:
        """Close every connection."""
        for fileno in list(self.clients):
            self.close(fileno)
        self.decoders.clear()
        return {"clients": 0}

    def close(self, fileno: int) -> None:
        """Close one connection."""
        client = self.clients.pop(fileno)
        with suppress(OSError):
            self.epoll.unregister(fileno)
        client.sock.close()


class Poller:
    """One keep-alive connection; `left` is what remains of the answer under way."""

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.sock = sock
        self.request = request
        self.head = bytearray(HEAD_BYTES)
        self.left = 0
        self.asked = False
        self.started = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)

    def ask(self) -> None:
        """Send the request once more."""
        self.asked = True
        self.started = False
        self.sock.send(self.request)

    def receive(self) -> tuple[int, bool]:
        """How many bytes came, and whether they end the answer."""
        received = 0
        if not self.started:
            received = self.sock.recv_into(self.head)
            if not received:
                raise ConnectionError("the server closed a polling connection")
            end = self.head.find(b"\r\n\r\n", 0, received) + 4
            if end < 4:
                raise ConnectionError(f"no whole head in {received} bytes")
            self.left = body_length(bytes(self.head[:end])) - (received - end)
            self.started = True
        while self.left > 0:
            try:
                size = self.sock.recv_into(UNTOUCHED, RECEIVE_BYTES, DISCARD)
            except BlockingIOError:
                return received, False
            if not size:
                raise ConnectionError("the server closed a polling connection")
            received += size
            self.left -= size
        self.asked = False
        return received, True


def open_clients(port: int, head: bytes, count: int, receive_bytes: int) -> list[Client]:
    """Connect, send the head and wait for the response's, all at once."""
    opened = []
    for number in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(20.0)
        sock.connect(("127.0.0.1", port))
        sock.sendall(head)
        opened.append(Client(sock))
    for client in opened:
        response = bytearray()
        while b"\r\n\r\n" not in response:
            data = client.sock.recv(65_536)
            if not data:
                raise ConnectionError(f"closed before its response head: {bytes(response)!r}")
            response += data
        status = int(response.split(b" ", 2)[1])
        if status not in (101, 200):
            raise ConnectionError(bytes(response[:500]).decode("latin-1"))
        client.sock.setblocking(False)
        client.carry = bytes(response)
    return opened


def count_in(client: Client, data: bytes, token: bytes) -> int:
    """How many records are in what was read; a token that is cut in two counts with its end."""
    whole = bytes(client.carry) + data
    carried = max(0, len(token) - 1)
    client.carry = whole[len(whole) - carried :]
    if client.kept is not None:
        client.kept += data
    return whole.count(token)


def count_records(client: Client, token: bytes, count: int) -> None:
    """Wait until a client has got so many records; ConnectionError when it gets others."""
    client.sock.settimeout(10.0)
    found = 0
    while found < count:
        found += count_in(client, receive_some(client.sock), token)
    client.sock.setblocking(False)
    if found != count:
        raise ConnectionError(f"a client got {found} records of {count}")


def ask_once(port: int, request: bytes) -> dict[str, Any]:
    """One poll, read whole: its status, headers of interest and how many records it carries."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(20.0)
        sock.sendall(request)
        data = bytearray()
        while (end := data.find(b"\r\n\r\n") + 4) < 4:
            data += receive_some(sock)
        head = bytes(data[:end])
        length = body_length(head)
        while len(data) < end + length:
            data += receive_some(sock)
    body = bytes(data[end:])
    plain = gzip.decompress(body) if header_of(head, b"content-encoding") == "gzip" else body
    return {
        "status": int(head.split(b" ", 2)[1]),
        "body_bytes": len(body),
        "plain_bytes": len(plain),
        "records": plain.count(b'"seq":'),
        "etag": header_of(head, b"etag"),
    }


def receive_some(sock: socket.socket) -> bytes:
    """Some bytes; ConnectionError when there are no more."""
    data = sock.recv(RECEIVE_BYTES)
    if not data:
        raise ConnectionError("the server closed a connection in the middle of an answer")
    return data


def body_length(head: bytes) -> int:
    """The length the head announces; an answer without a body has none."""
    if head.split(b" ", 2)[1] == b"304":
        return 0
    return int(header_of(head, b"content-length"))


def header_of(head: bytes, name: bytes) -> str:
    """The value of a response header, empty when it is not there."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return ""


def records_in(text: bytes) -> list[dict[str, Any]]:
    """Every record of some WebSocket messages or SSE events, in order of arrival."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        line = line.removeprefix(b"data:").strip()
        if not line.startswith(b"{"):
            continue
        value = json.loads(line)
        if "records" in value:
            found += value["records"]
        elif "seq" in value:
            found.append(value)
    return found


def main() -> None:
    """Carry out commands until standard input ends."""
    load = Load()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = getattr(load, "do_" + command.pop("do"))(**command)
        except (OSError, ValueError, h11.ProtocolError) as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
