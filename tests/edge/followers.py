"""Readers who follow one stream for as long as a daemon lives, and come back by their position."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from attrs import define, field

from tests.edge.peers import GONE, sse, websocket


@define
class Follower:
    """All that one reader was ever told of a stream. It asserts what any reader may rely on: no
    number twice, none left out unless it is a `table`, neither gap nor reset.
    """

    stream: str
    way: str
    table: bool = False
    told: dict[int, Any] = field(factory=dict)
    """Records by their sequence number."""
    position: str | None = None
    _seq: int = 0

    @property
    def values(self) -> list[Any]:
        """What was told, in its order."""
        return [record["value"] for record in self.told.values()]

    @property
    def seq(self) -> int:
        """How far it has come."""
        return 0 if self.position is None else int(self.position.rpartition(".")[2])

    async def follow(self, port: int) -> None:
        """Read until the daemon is gone."""
        ways: dict[str, Callable[[int], Awaitable[None]]] = {
            "websocket": self._by_websocket,
            "events": self._by_events,
        }
        with suppress(*GONE):
            await ways[self.way](port)

    async def _by_websocket(self, port: int) -> None:
        after = "" if self.position is None else f"&after={self.position}"
        async with websocket(port, f"/ws?streams={self.stream}{after}") as peer:
            while True:
                message = await peer.message()
                assert message["type"] == "records", message
                for record in message["records"]:
                    self._take(record)
                self._stand_at(message["position"])

    async def _by_events(self, port: int) -> None:
        headers = {} if self.position is None else {"Last-Event-ID": self.position}
        async with sse(port, f"/sse/{self.stream}", headers=headers) as peer:
            while True:
                event = await peer.event()
                if event.name == "goodbye":
                    return
                assert event.name == "message", event
                if event.data is not None:
                    self._take(event.json)
                if event.id is not None:
                    self._stand_at(event.id)

    def _take(self, record: dict[str, Any]) -> None:
        seq = record["seq"]
        assert seq == self._seq + 1 or (self.table and seq > self._seq), (self, seq)
        self.told[seq], self._seq = record, seq

    def _stand_at(self, position: str) -> None:
        before = self.position or position
        assert position.rpartition(".")[0] == before.rpartition(".")[0], (before, position)
        self.position = position
