"""Clients that move one position per stream between WebSocket, Server-Sent Events and polls.

Nobody is spared: a client leaves in the middle of whatever it was told, and comes back by another
way with the position that it holds.
"""

from collections import Counter
from collections.abc import Mapping
from random import Random

import trio
from attrs import define, field, frozen
from websockets.exceptions import InvalidStatus

from tests.crash.referee import ORDERS, STREAMS, TABLES, Referee, View
from tests.crash.told import Told, told, written
from tests.edge.peers import GONE, http, sse, websocket


@frozen
class Habits:
    """How a client lives, in seconds from and to: how long it stays with one way, how long it is
    away until it comes by another, how long it rests between polls. `long_away` and `squeezed` are
    shares: of absences that last as long as `long_away_s`, and of connections that ask for
    compression. `source` is the address that it comes from.
    """

    stay_s: tuple[float, float] = (0.05, 0.8)
    away_s: tuple[float, float] = (0.0, 0.05)
    long_away_s: tuple[float, float] = (0.0, 0.0)
    long_away: float = 0.0
    rest_s: tuple[float, float] = (0.0, 0.2)
    squeezed: float = 0.5
    source: str | None = None


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

    def __init__(
        self, name: str, referee: Referee, random: Random, habits: Habits | None = None
    ) -> None:
        self.name = name
        self._habits = habits or Habits()
        self.visits: Counter[str] = Counter()
        """How often it came, by the name of the way."""
        self.views = {stream: View(referee, name, stream) for stream in STREAMS}
        self._referee = referee
        self._random = random

    async def live(self, life: Life) -> None:
        """Read, leave, come back, until the daemon is gone."""
        random, habits = self._random, self._habits
        while not life.over.is_set():
            follow = random.choice([self._by_websocket, self._by_events, self._by_polls])
            self.visits[follow.__name__] += 1
            for view in self.views.values():
                view.way = follow.__name__
            try:
                with trio.move_on_after(random.uniform(*habits.stay_s)):
                    await follow(life.port)
            except* GONE as group:
                # Handshakes that were refused are among these; a process that ends may do so.
                if not life.stopping and group.subgroup(InvalidStatus) is not None:
                    self._referee.broken("other", f"{self.name} was refused: {group.exceptions}")
            except* Refused as group:
                if not life.stopping:
                    self._referee.broken("other", f"{self.name}: {group.exceptions}")
            long = random.random() < habits.long_away
            away_s = habits.long_away_s if long else habits.away_s
            with trio.move_on_after(random.uniform(*away_s)):
                await life.over.wait()

    async def settle(self, port: int) -> None:
        """Read what is left."""
        async with http(port, source=self._habits.source) as peer:
            for view in self.views.values():
                path = f"/streams/{view.stream}"
                answer = await peer.ask(
                    path if view.after is None else f"{path}?after={view.after}"
                )
                self._polled(view, told(answer.body.decode()))

    def compare(self, polled: Mapping[str, Told]) -> None:
        """Who has settled is where the streams are, and has the tables as they are."""
        for stream, view in self.views.items():
            position = polled[stream]["position"]
            if view.after != position:
                self._referee.broken("lost", f"{self.name} ends at {view.after}, {position}")
            for record in polled[stream].records if stream in TABLES else []:
                if view.rows.get(record.found["key"]) != record.print:
                    self._referee.broken("lost", f"{self.name} has no {stream} {record.json}")

    async def _by_websocket(self, port: int) -> None:
        held = {stream: view.after for stream, view in self.views.items()}
        after = {stream: position for stream, position in held.items() if position}
        ask = {"action": "subscribe", "streams": list(STREAMS), "after": after}
        deflate = self._random.random() < self._habits.squeezed
        async with websocket(port, deflate=deflate, source=self._habits.source) as peer:
            await peer.say(ask)
            while True:
                message = told(await peer.text())
                if "stream" not in message.found:
                    raise Refused(message)
                view = self.views[message["stream"]]
                match message["type"]:
                    case "records":
                        if message["first"]:
                            view.first()
                        for record in message.records:
                            view.record(message.epoch, record)
                        view.position(message["position"])
                    case "gap":
                        view.gap(message.epoch, message["gap"]["first"], message["gap"]["last"])
                        view.position(message["position"])
                    case "reset":
                        view.reset(message["position"])

    async def _by_events(self, port: int) -> None:
        async with trio.open_nursery() as nursery:
            for view in self.views.values():
                nursery.start_soon(self._follow_events, port, view)

    async def _follow_events(self, port: int, view: View) -> None:
        headers = {} if view.after is None else {"Last-Event-ID": view.after}
        if self._random.random() < self._habits.squeezed:
            headers["Accept-Encoding"] = "gzip"
        path, source = f"/sse/{view.stream}", self._habits.source
        async with sse(port, path, headers=headers, source=source) as peer:
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
                        view.record(epoch, written(event.data))
                if event.id is not None:
                    view.position(event.id)

    async def _by_polls(self, port: int) -> None:
        tags: dict[str, str] = {}
        async with http(port, source=self._habits.source) as peer:
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
                    self._polled(view, told(answer.body.decode()), "limit" in path)
                await trio.sleep(self._random.uniform(*self._habits.rest_s))

    def _polled(self, view: View, answer: Told, limited: bool = False) -> None:
        if answer["reset"]:
            view.reset(answer["position"])
        if answer["gap"] is not None:
            view.gap(answer.epoch, answer["gap"]["first"], answer["gap"]["last"], wanted=limited)
        for record in answer.records:
            view.record(answer.epoch, record)
        view.position(answer["position"])
