"""Readers of a Redis stream, as many as there are to be, in one process: each asks as an edge does,
`XREAD BLOCK` behind what it has, and looks at no more of the answer than where it ends.

Run as a process of its own, commanded like `bench.load`. What many edges cost Redis is measured
with these, since a small machine has no room for many edges.
"""

import json
import re
import select
import socket
import sys
import time

COUNT = 100
BLOCK_MS = 1_000
ENDED = re.compile(rb"\$3\r\nseq\r\n\$\d+\r\n(\d+)\r\n\Z")
HEAD = re.compile(rb"\*1\r\n\*2\r\n\$\d+\r\n[^\r]+\r\n\*(\d+)\r\n")
NOTHING = (b"*-1\r\n", b"$-1\r\n", b"*0\r\n")


class Reader:
    """One connection, and how far it is."""

    def __init__(self, port: int, key: str, after: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.key = key.encode()
        self.at = after
        self.answers = 0
        self.answer = b""
        self.ask()

    def ask(self) -> None:
        """What is behind the place that it is at?"""
        self.answer = b""
        parts = [b"XREAD", b"COUNT", b"%d" % COUNT, b"BLOCK", b"%d" % BLOCK_MS, b"STREAMS"]
        parts += [self.key, b"%d-0" % self.at]
        wire = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.sock.sendall(b"*%d\r\n%s" % (len(parts), wire))

    def receive(self) -> None:
        """Read what came; ask again once it is whole. ValueError for a refusal."""
        data = self.sock.recv(262_144)
        if not data or data.startswith(b"-"):
            raise ValueError(f"Redis ended it: {data[:200]!r}")
        self.answer += data
        if self.answer in NOTHING:
            return self.ask()
        head, end = HEAD.match(self.answer), ENDED.search(self.answer, len(self.answer) - 64)
        if head and end and self.answer.count(b"$3\r\nseq\r\n") == int(head[1]):
            self.at = int(end[1])
            self.answers += 1
            self.ask()


def follow(port: int, key: str, after: int, readers: int, until: int, timeout_s: float) -> object:
    """Have so many readers follow until each is at this number, and say how often they asked."""
    all_of_them = [Reader(port, key, after) for _ in range(readers)]
    epoll = select.epoll()
    by_fileno = {reader.sock.fileno(): reader for reader in all_of_them}
    for fileno in by_fileno:
        epoll.register(fileno, select.EPOLLIN)
    print(json.dumps({"following": readers}), flush=True)
    deadline = time.monotonic() + timeout_s
    while any(reader.at < until for reader in all_of_them) and time.monotonic() < deadline:
        for fileno, _event in epoll.poll(0.2):
            by_fileno[fileno].receive()
    for reader in all_of_them:
        reader.sock.close()
    return {
        "complete": all(reader.at >= until for reader in all_of_them),
        "answers": sum(reader.answers for reader in all_of_them),
    }


def main() -> None:
    """Carry out commands until standard input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            result = follow(**json.loads(line))
        except (OSError, ValueError) as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
