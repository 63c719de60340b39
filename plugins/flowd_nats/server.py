"""The NATS server, or the servers of one cluster: one connection that all who ask share, dialled
when it is needed.
"""

from collections.abc import Sequence

import trio

from flowd_nats.wire import Broken, Connection, Login, Message, connect, within


class Server:
    """Servers of which any will do, in the order in which they are tried."""

    def __init__(
        self, urls: Sequence[str], login: Login, nursery: trio.Nursery, timeout_s: float
    ) -> None:
        self._urls = list(urls)
        self._login = login
        self._nursery = nursery
        self._timeout_s = timeout_s
        self._dialling = trio.Lock()
        self._connection: Connection | None = None
        self.connections = 0
        """How often one was made."""

    async def ask(self, requests: Sequence[tuple[str, bytes, bytes]]) -> list[Message]:
        """All answers; Broken when there is no connection, it breaks, or it takes too long. What
        does not answer in time is left: nobody knows what it still does.
        """
        connection = await self.connected()
        try:
            with within(self._timeout_s, f"does not answer within {self._timeout_s:g}s"):
                return await connection.ask_all(requests)
        except Broken as error:
            connection.leave()
            raise Broken(f"{self.name} {error}") from None

    async def connected(self) -> Connection:
        """The connection; Broken says of each server why there is none."""
        async with self._dialling:
            if self._connection is not None and not self._connection.broken:
                return self._connection
            wrong: list[str] = []
            for url in self._urls:
                try:
                    connection, lines = await connect(url, self._login, self._timeout_s)
                except Broken as error:
                    wrong.append(f"{shown(url)} {error}")
                    continue
                # Next time the one that worked is tried first.
                self._urls = [url, *(other for other in self._urls if other != url)]
                self._nursery.start_soon(connection.listen, lines)
                self._connection = connection
                self.connections += 1
                return connection
        raise Broken("; ".join(wrong))

    @property
    def name(self) -> str:
        """Who is asked, as people may see it."""
        return shown(self._urls[0])


def shown(url: str) -> str:
    """An address without who we are."""
    return url.rpartition("@")[2].rpartition("//")[2]
