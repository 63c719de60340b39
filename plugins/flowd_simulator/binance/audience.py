"""Who is connected and what each wants to hear."""

from collections.abc import Collection, Iterator
from random import Random

from attrs import define

from flowd_simulator.binance.control import Subscriptions, answer
from flowd_simulator.binance.names import Carrier, Route, carrier
from flowd_simulator.faults import Faults
from flowd_simulator.session import Session


@define(eq=False)
class Client:
    """A session together with what it subscribed to."""

    session: Session
    carries: Carrier
    subscriptions: Subscriptions
    streams_max: int

    def receive(self, message: str | bytes) -> None:
        """Answer a request, or end the connection if it wants too much."""
        self.session.send(answer(self.subscriptions, message))
        self.count_streams()

    def count_streams(self) -> None:
        """End the connection if it has more streams than one may have."""
        if len(self.subscriptions.streams) > self.streams_max:
            self.session.close(1008, "Too many streams")


class Audience:
    """All clients, in the order in which they came: chance treats them alike in every run."""

    def __init__(self, faults: Faults, random: Random) -> None:
        self.accepted = 0
        self._faults = faults
        self._random = random
        self._clients: dict[int, Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Session]:
        return iter([client.session for client in self._clients.values()])

    async def seat(self, session: Session, asked: Route, streams_max: int) -> None:
        """Serve one client until it goes."""
        subscriptions = Subscriptions(asked.combined, dict.fromkeys(asked.streams))
        client = Client(session, asked.carries, subscriptions, streams_max)
        self.accepted += 1
        number = self.accepted
        self._clients[number] = client
        try:
            client.count_streams()
            await session.run(client.receive)
        finally:
            del self._clients[number]

    def publish(self, streams: Collection[str], event: str) -> None:
        """Send an event once to each client for each of these streams it subscribed to, with
        whatever faults are on."""
        for client in self._clients.values():
            for stream in streams:
                if stream in client.subscriptions.streams and client.carries == carrier(stream):
                    text = client.subscriptions.wrap(stream, event)
                    for frame in self._faults.frames(text, self._random):
                        client.session.send(frame)

    def wanted(self) -> dict[str, None]:
        """The names of all streams that somebody would get."""
        return {
            stream: None
            for client in self._clients.values()
            for stream in client.subscriptions.streams
            if client.carries == carrier(stream)
        }
