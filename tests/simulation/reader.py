"""Readers of every temper, by every protocol. Each holds what it is told against the model."""

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import h11
import trio

from flowd import testing
from flowd.values import codec
from tests.simulation.model import Place

if TYPE_CHECKING:
    from tests.simulation.world import World

REST_MAX = 64 * 1024
"""Bytes that may be kept for a client who does not read."""
MOODS = (*("read",) * 6, "stall", "sip", "sip", "recover", "switch", "leave", "break")
CROWD_MOODS = (*("read",) * 12, "stall", "sip", "recover", "switch")


class Reader:
    """A client: comes, follows at a changing speed, stalls, leaves, comes back where it was."""

    def __init__(self, world: "World", number: int, crowd: str | None) -> None:
        self.world = world
        self.name = f"reader {number}"
        self.random = random = Random(f"{world.seed}/{self.name}")
        self.moods = MOODS
        self.symbol: str | None = None
        if crowd is not None:
            self.kind = crowd
            self.moods = CROWD_MOODS
            chosen = ["all"]
        else:
            self.kind = random.choice(("sse", "sse", "websocket", "websocket", "poll"))
            self.symbol = random.choice((None, None, None, *world.symbols))
            chosen = [random.choice(list(world.logs))]
            if self.kind == "websocket":
                chosen = random.sample(list(world.logs), random.randint(1, len(world.logs)))
        self.places = {name: self._place(name) for name in chosen}
        self.client: testing.Client | None = None
        self.slow = False
        self.warnings = 0
        self._text = b""
        self._id: str | None = None

    def _place(self, name: str) -> Place:
        return Place(self.world.logs[name], None if name == "outages" else self.symbol)

    async def run(self) -> None:
        while True:
            await trio.sleep(self.random.expovariate(1 / self._patience_s()))
            daemon = self.world.daemon
            if daemon is None or daemon.ended.is_set():
                continue
            if daemon.stopping.is_set() and self.client is None:
                continue
            if self.kind == "poll":
                # After the loop was held, an answer that was under way may be cut off.
                cut = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)
                with suppress(*cut):
                    await self._poll(daemon)
            elif self.client is None:
                self._connect(daemon)
            else:
                self._act(self.client)

    def _patience_s(self) -> float:
        """Who is away or stalled mostly is so for long enough that records fall off."""
        if self.kind == "poll":
            return 15
        if self.world.calm:
            return 4
        away = self.client is None
        stalled = self.client is not None and self.client.socket.room == 0
        return 4 if not away and not stalled else self.random.choice((1, 10, 120))

    # -- coming and going --

    def _connect(self, daemon: testing.Daemon) -> None:
        resume = self.random.random() < 0.85
        limit = self.random.choice((None, 0, 3, 1000))
        resumed = [name for name in self.places if resume and self.places[name].epoch is not None]
        for name, place in self.places.items():
            limited = limit is not None and (self.kind == "websocket" or name not in resumed)
            place.connect(resume=name in resumed, limited=limited)
        self.slow = False
        self._text, self._id = b"", None
        self.world.trace("connect", self.name, resumed, limit)
        if self.kind == "sse":
            self._connect_sse(daemon, resumed, limit)
        else:
            self._connect_websocket(daemon, resumed, limit)
        self.read()

    def _connect_sse(self, daemon: testing.Daemon, resumed: list[str], limit: int | None) -> None:
        ((name, place),) = self.places.items()
        query = "" if place.symbol is None else f"symbol={place.symbol}"
        headers = {}
        if resumed and self.random.random() < 0.5:
            headers = {"last-event-id": f"{place.epoch}.{place.seq}"}
        elif resumed:
            query += f"&after={place.epoch}.{place.seq}"
        elif limit is not None:
            query += f"&limit={limit}"
        query = query.strip("&")
        target = f"/sse/{name}?{query}" if query else f"/sse/{name}"
        self.client = daemon.connect(target, headers=headers)

    def _connect_websocket(
        self, daemon: testing.Daemon, resumed: list[str], limit: int | None
    ) -> None:
        self.client = daemon.connect("/ws")
        after = {n: f"{self.places[n].epoch}.{self.places[n].seq}" for n in resumed}
        names = list(self.places)
        wish: dict[str, Any] = {"action": "subscribe", "streams": names, "after": after}
        if self.symbol is not None and names != ["outages"]:
            wish["filter"] = {"symbol": self.symbol}
        if limit is not None:
            wish["limit"] = limit
        self.client.say(wish)

    def _act(self, client: testing.Client) -> None:
        """Read some, slowly or fast, and perhaps go."""
        random, socket = self.random, client.socket
        if self.world.calm:
            self.slow = False
            socket.recovers()
        else:
            match random.choice(self.moods):
                case "stall":
                    self.slow = True
                    socket.blocks()
                case "sip":
                    self.slow = True
                    socket.takes(random.randint(1, 400))
                case "recover":
                    self.slow = False
                    socket.recovers()
                case "switch" if self.kind == "websocket" and not self.slow:
                    self._switch(client)
                case "leave":
                    self.read()
                    client.leave()
                case "break":
                    socket.breaks()
                case _:
                    if self.kind == "websocket" and random.random() < 0.2:
                        client.say({"action": "ping", "id": random.randint(1, 99)})
        self.read()
        if client.gone is not None:
            self.world.trace("gone", self.name, client.gone)
            self.client = None

    def fidget(self) -> None:
        """Do something at once."""
        if self.client is not None and self.client.gone is None:
            self.slow = False
            self.client.socket.recovers()
            if self.kind == "websocket":
                self._switch(self.client)

    def _switch(self, client: testing.Client) -> None:
        """Follow one stream more, or one less; not while something of it may be on its way."""
        daemon = self.world.daemon
        if daemon is None or daemon.stopping.is_set() or client.session.client.behind:
            return
        self.read()
        others = [name for name in self.world.logs if name not in self.places]
        if others and (len(self.places) == 1 or self.random.random() < 0.5):
            name = self.random.choice(others)
            self.places[name] = self._place(name)
            self.places[name].connect(resume=False, limited=False)
            wish: dict[str, Any] = {"action": "subscribe", "streams": [name]}
            if self.places[name].symbol is not None:
                wish["filter"] = {"symbol": self.symbol}
        else:
            name = self.random.choice([*self.places])
            if len(self.places) == 1 or not self.places[name].level():
                return
            del self.places[name]
            wish = {"action": "unsubscribe", "streams": [name]}
        self.world.trace("switch", self.name, wish)
        client.say(wish)

    def lose(self, *, clean: bool) -> None:
        """The daemon has ended. After a clean stop, who was reading must have got everything."""
        self.read()
        if clean and self.client is not None and not self.slow and self.client.gone is None:
            self.must_be_level()
        self.client = None

    def must_be_level(self) -> None:
        """This reader, whom nothing hinders, must know everything now."""
        if self.client is not None and self.client.gone is None and not self.slow:
            for name, place in self.places.items():
                at = f"{place.epoch}.{place.seq}"
                head = f"{place.log.epoch}.{place.log.seq}"
                assert place.level(), f"{self.name}: {name} is at {head}, it was left at {at}"

    # -- reading --

    def read(self) -> None:
        """Take in what came, and hold it against the model."""
        client = self.client
        if client is None:
            return
        self.world.sync()
        rest = client.session.client.rest
        assert rest is None or len(rest) <= REST_MAX, f"{len(rest)} bytes kept for {self.name}"
        if self.kind == "sse":
            self._read_events(client)
        else:
            for message in client.messages():
                self.world.trace("message", self.name, message["type"])
                self._message(message)

    def _floor(self, name: str) -> int:
        assert self.world.daemon is not None
        return self.world.daemon.streams[name].floor

    def _message(self, message: Any) -> None:
        match message["type"]:
            case "records":
                place = self.places[message["stream"]]
                epoch, seq = _position(message["position"])
                fresh = place.seq is None
                assert message["first"] == fresh, f"{self.name}: first is {message['first']}"
                self._records(message["stream"], message["records"], epoch, seq)
            case "gap":
                self._gap(message["stream"], message["gap"])
            case "reset":
                self.places[message["stream"]].reset()
                self.world.trace("reset", self.name)
            case "warning":
                self.warnings += 1
                self.world.trace("warning", self.name, message["behind"])
            case "pong":
                assert message["id"]
            case other:
                raise AssertionError(f"{self.name} was told {other}: {message}")

    def _records(self, name: str, records: list[Any], epoch: str, seq: int) -> None:
        self.world.trace("records", self.name, name, len(records), epoch, seq)
        self.places[name].records(records, epoch, seq, floor=self._floor(name))

    def _gap(self, name: str, gap: Any) -> None:
        self.world.trace("gap", self.name, gap)
        self.places[name].gap(gap["first"], gap["last"])

    def _read_events(self, client: testing.Client) -> None:
        """As a browser's EventSource does: an event counts when its empty line has come."""
        ((name, place),) = self.places.items()
        self._text += client.news()
        if self._text.startswith(b"HTTP/"):
            head, end, rest = self._text.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200 ")
            self._text = rest
        *events, self._text = self._text.split(b"\n\n")
        for event in events:
            self._event(name, place, event.decode())

    def _event(self, name: str, place: Place, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        kind = fields.get("event", "message")
        data = codec.decode(fields["data"]) if "data" in fields else None
        if kind == "reset":
            self.world.trace("reset", self.name)
            place.reset()
        elif kind == "gap":
            self._gap(name, data)
            assert _position(fields["id"]) == (place.epoch, place.seq)
        elif kind == "warning":
            self.warnings += 1
        elif kind == "message" and "id" in fields:
            epoch, seq = _position(fields["id"])
            self._records(name, [] if data is None else [data], epoch, seq)

    async def _poll(self, daemon: testing.Daemon) -> None:
        ((name, place),) = self.places.items()
        query = "" if place.symbol is None else f"symbol={place.symbol}"
        resume = place.epoch is not None and self.random.random() < 0.9
        limit = None if resume else self.random.choice((None, 2))
        place.connect(resume=resume, limited=limit is not None)
        if resume:
            query += f"&after={place.epoch}.{place.seq}"
        elif limit is not None:
            query += f"&limit={limit}"
        answer = await daemon.get(f"/streams/{name}?{query.strip('&')}")
        if self.world.daemon is not daemon:
            return
        assert answer.status == 200
        self.world.sync()
        body = answer.json()
        if body["reset"]:
            place.reset()
        if body["gap"] is not None:
            self._gap(name, body["gap"])
        epoch, seq = _position(body["position"])
        self._records(name, body["records"], epoch, seq)


def _position(text: str) -> tuple[str, int]:
    epoch, _, seq = text.partition(".")
    return epoch, int(seq)
