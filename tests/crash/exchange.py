"""An exchange in a process of its own: Binance's combined streams, orders at a varying rate, and a
ledger.

It prints its port, then waits on standard input: where it is `--held`, `begin` begins the trading;
`last` ends the trading with one order that is
surely sent, and prints its number; the end of input ends the process. A batch is in the ledger
before its first byte is on a socket, so that whatever arrived anywhere is in there.
"""

import argparse
import contextlib
import json
import logging
import sys
import threading
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import TextIO

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.crash.ledger import Batch, Order

ROUTED = "/market/stream?"
"""Elsewhere everything is accepted and nothing delivered, as at Binance."""
COMPANION_EVERY_S = 1.0
TICK_S = 0.01
BURST_BATCH = 100
AGAIN = 30
"""So many orders from before a connection some of them get once more."""
AGAIN_AFTER = 20
"""Not at once: what comes first after a connection is new, as at any exchange without replay."""


class Peer:
    """One connection."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number = number
        self.connection = connection
        self.routed = connection.request is not None and connection.request.path.startswith(ROUTED)
        self.subscribed = False
        self.again: list[Order] = []
        self.again_at = 0

    def send(self, text: str) -> bool:
        """False when it is gone."""
        try:
            self.connection.send(text)
        except (ConnectionClosed, OSError):
            self.subscribed = False
            return False
        return True


class Exchange:
    """The market and who listens to it. `talk` runs in a thread for each connection, `trade` in
    one.
    """

    def __init__(self, seed: str, ledger: TextIO, delay_ms: int, pace: float) -> None:
        self.orders = 0
        self.begun = threading.Event()
        self.ending = threading.Event()
        self._random = Random(seed)
        self._ledger = ledger
        self._delay_ms = delay_ms
        self._pace = pace
        self._lock = threading.Lock()
        self._peers: list[Peer] = []
        self._dials = 0
        self._newest: deque[Order] = deque(maxlen=AGAIN)
        self._companion_at = 0.0
        self._subscribed = threading.Event()

    def talk(self, connection: ServerConnection) -> None:
        """One connection, to its end."""
        with self._lock:
            self._dials += 1
            peer = Peer(self._dials, connection)
            self._peers.append(peer)
        with contextlib.suppress(ConnectionClosed, OSError):
            for text in connection:
                said = json.loads(text)
                peer.send(json.dumps({"result": None, "id": said["id"]}))
                if said["method"] == "SUBSCRIBE" and peer.routed:
                    with self._lock:
                        if self._random.random() < 0.3:
                            peer.again = list(self._newest)
                            peer.again_at = self.orders + AGAIN_AFTER
                        peer.subscribed = True
                    self._subscribed.set()
                elif said["method"] == "UNSUBSCRIBE":
                    peer.subscribed = False
        with self._lock:
            self._peers.remove(peer)

    def trade(self) -> None:
        """Quiet, steady and wild by turns, from the first subscription or when told to begin until
        told to end.
        """
        random = self._random
        while not (self.begun.is_set() and self._subscribed.is_set()):
            self._companion()
            time.sleep(TICK_S)
        while not self.ending.is_set():
            mood = random.random()
            if not any(peer.subscribed for peer in list(self._peers)):
                # What nobody can get need only be there.
                self._steady(50.0 * self._pace, 0.05)
            elif mood < 0.15:
                self._steady(0.0, random.uniform(0.05, 0.3))
            elif mood < 0.85:
                rate = 20.0 * 75.0 ** random.random() * self._pace
                self._steady(rate, random.uniform(0.1, 0.8))
            else:
                self._burst(int(random.randint(500, 4000) * self._pace))

    def last(self) -> int:
        """One more order, when somebody is there to get it; which one."""
        while not any(peer.subscribed for peer in list(self._peers)):
            self._companion()
            time.sleep(TICK_S)
        self._send(1)
        return self.orders

    def _steady(self, rate: float, seconds: float) -> None:
        began, sent = time.monotonic(), 0
        while not self.ending.is_set() and (passed := time.monotonic() - began) < seconds:
            due = int(rate * passed) - sent
            if due > 0:
                self._send(due)
                sent += due
            self._companion()
            time.sleep(TICK_S)

    def _burst(self, count: int) -> None:
        for first in range(0, count, BURST_BATCH):
            if not self.ending.is_set():
                self._send(min(BURST_BATCH, count - first))

    def _send(self, count: int) -> None:
        """New orders, to all who are subscribed. Waits for a reader whose socket is full."""
        with self._lock:
            peers = [peer for peer in self._peers if peer.subscribed]
            pushed_ms = time.time_ns() // 1_000_000
            first, self.orders = self.orders + 1, self.orders + count
            numbers = tuple(peer.number for peer in peers)
            batch = Batch(first, self.orders, pushed_ms - self._delay_ms, numbers)
            orders = [Order(number, batch.time_ms) for number in batch.numbers]
            self._newest.extend(orders)
        self._ledger.write(batch.line)
        self._ledger.flush()
        texts = [order.frame(pushed_ms) for order in orders]
        for peer in peers:
            if all(peer.send(text) for text in texts) and peer.again and first > peer.again_at:
                again, peer.again = peer.again, []
                all(peer.send(order.frame(pushed_ms)) for order in again)

    def _companion(self) -> None:
        if time.monotonic() - self._companion_at < COMPANION_EVERY_S:
            return
        self._companion_at = time.monotonic()
        mark = {"e": "markPriceUpdate", "E": time.time_ns() // 1_000_000, "s": "BTCUSDT"}
        text = json.dumps({"stream": "btcusdt@markPrice@1s", "data": mark | {"p": "43000.1"}})
        with self._lock:
            peers = [peer for peer in self._peers if peer.routed]
        for peer in peers:
            peer.send(text)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--held", action="store_true")
    wanted = parser.parse_args()
    # It tells of every peer that was killed in the middle of a word.
    logging.getLogger("websockets").setLevel(logging.CRITICAL + 1)
    with wanted.ledger.open("w") as ledger:
        exchange = Exchange(wanted.seed, ledger, wanted.delay_ms, wanted.pace)
        with serve(exchange.talk, "127.0.0.1", 0, compression=None) as server:
            trading = threading.Thread(target=exchange.trade, daemon=True)
            trading.start()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _say(server.socket.getsockname()[1])
            if not wanted.held:
                exchange.begun.set()
            for line in sys.stdin:
                if line.strip() == "begin":
                    exchange.begun.set()
                    _say(exchange.orders)
                if line.strip() == "last":
                    exchange.ending.set()
                    trading.join()
                    _say(exchange.last())
            exchange.ending.set()


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
