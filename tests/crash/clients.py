"""Clients that move one position per stream between WebSocket, Server-Sent Events and polls.

Nobody is spared: a client leaves in the middle of whatever it was told, and comes back by another
way with the position that it holds.
"""

import json
from random import Random

import h11
import trio
from attrs import define, field
from websockets.exceptions import InvalidHandshake, InvalidState, InvalidStatus

from tests.crash.referee import ORDERS, STREAMS, Referee, View
from tests.edge.peers import http, sse, websocket

GONE = (
    *(OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError),
    *(h11.RemoteProtocolError, InvalidHandshake, InvalidState),
)
"""What a connection ends with when the process at its other end is killed."""
STAY_S = (0.05, 0.8)


@define
class Life:
    """One life of the daemon, as clients see it."""

    port: int
    stopping: bool = False
    """It was told to end, and may refuse."""
    over: trio.Event = field(factory=trio.Event)
    """The process is gone."""


class Refused(Exception):
    """An answer that nobody should get."""


class Client:
    """One reader of all streams. `live` uses the connections it opens up, and closes them."""

    def __init__(self, name: str, referee: Referee, random: Random) -> None:
        self.name = name
        self.views = {stream: View(referee, name, stream) for stream in STREAMS}
        self._referee = referee
        self._random = random

    async def live(self, life: Life) -> None:
        """Read, leave, come back, until the daemon is gone."""
        random = self._random
        while not life.over.is_set():
            follow = random.choice([self._by_websocket, self._by_events, self._by_polls])
            for view in self.views.values():
                view.way = follow.__name__
            try:
                with trio.move_on_after(random.uniform(*STAY_S)):
                    await follow(life.port)
            except* GONE as group:
                # Handshakes that were refused are among these; a process that ends may do so.
                if not life.stopping and group.subgroup(InvalidStatus) is not None:
                    self._referee.broken("other", f"{self.name} was refused: {group.exceptions}")
            except* Refused as group:
                if not life.stopping:
                    self._referee.broken("other", f"{self.name}: {group.exceptions}")
            with trio.move_on_after(random.uniform(0.0, 0.05)):
                await life.over.wait()

    async def settle(self, port: int) -> None:
        """Read what is left."""
        async with http(port) as peer:
            for view in self.views.values():
                path = f"/streams/{view.stream}"
                answer = await peer.ask(
                    path if view.after is None else f"{path}?after={view.after}"
                )
                self._polled(view, json.loads(answer.body))

    async def _by_websocket(self, port: int) -> None:
        held = {stream: view.after for stream, view in self.views.items()}
        after = {stream: position for stream, position in held.items() if position}
        ask = {"action": "subscribe", "streams": list(STREAMS), "after": after}
        async with websocket(port, deflate=self._random.random() < 0.5) as peer:
            await peer.say(ask)
            while True:
                message = await peer.message()
                if "stream" not in message:
                    raise Refused(message)
                view = self.views[message["stream"]]
                match message["type"]:
                    case "records":
                        if message["first"]:
                            view.first()
                        epoch = message["position"].rpartition(".")[0]
                        for record in message["records"]:
                            view.record(epoch, record)
                        view.position(message["position"])
                    case "gap":
                        epoch = message["position"].rpartition(".")[0]
                        view.gap(epoch, message["gap"]["first"], message["gap"]["last"])
                        view.position(message["position"])
                    case "reset":
                        view.reset(message["position"])

    async def _by_events(self, port: int) -> None:
        async with trio.open_nursery() as nursery:
            for view in self.views.values():
                nursery.start_soon(self._follow_events, port, view)

    async def _follow_events(self, port: int, view: View) -> None:
        headers = {} if view.after is None else {"Last-Event-ID": view.after}
        if self._random.random() < 0.5:
            headers["Accept-Encoding"] = "gzip"
        async with sse(port, f"/sse/{view.stream}", headers=headers) as peer:
            if peer.status != 200:
                raise Refused(peer.status)
            while True:
                event = await peer.event()
                epoch = (event.id or "").rpartition(".")[0]
                match event.name:
                    case "reset":
                        view.reset(event.json["position"])
                    case "gap":
                        view.gap(epoch, event.json["first"], event.json["last"])
                    case "message" if event.data is not None:
                        view.record(epoch, event.json)
                if event.id is not None:
                    view.position(event.id)

    async def _by_polls(self, port: int) -> None:
        tags: dict[str, str] = {}
        async with http(port) as peer:
            while True:
                for view in self.views.values():
                    query = [] if view.after is None else [f"after={view.after}"]
                    if view.stream == ORDERS and self._random.random() < 0.05:
                        query.append(f"limit={self._random.randint(1, 100)}")
                    tag = tags.pop(view.stream, None)
                    headers = {} if tag is None else {"If-None-Match": tag}
                    path = f"/streams/{view.stream}?{'&'.join(query)}"
                    answer = await peer.ask(path, headers=headers)
                    if answer.status == 304:
                        continue
                    if answer.status != 200:
                        raise Refused(answer.status, answer.body)
                    tags[view.stream] = answer.headers["etag"]
                    self._polled(view, json.loads(answer.body))
                await trio.sleep(self._random.uniform(0.0, 0.2))

    def _polled(self, view: View, answer: dict[str, object]) -> None:
        position = str(answer["position"])
        epoch = position.rpartition(".")[0]
        if answer["reset"]:
            view.reset(position)
        if isinstance(gap := answer["gap"], dict):
            view.gap(epoch, gap["first"], gap["last"])
        records = answer["records"]
        assert isinstance(records, list)
        for record in records:
            view.record(epoch, record)
        view.position(position)
