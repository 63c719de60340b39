"""Which of many sockets have something to say."""

import select
import selectors
import socket
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 64
"""The system tells of so many in one answer: of thousands it would hold the loop for long."""


class Readable(Generic[T]):
    """Sockets, and whose each of them is. Whoever adds one removes it before closing it.

    Where the system can say that something can be read but not of how many sockets at most, it
    tells of all at once.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[socket.socket, T]] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._selector = selectors.DefaultSelector() if self._epoll is None else None

    def fileno(self) -> int:
        """The descriptor that can be read when one of the sockets can."""
        if self._epoll is not None:
            return self._epoll.fileno()
        assert self._selector is not None
        return self._selector.fileno()

    def add(self, raw: socket.socket, whose: T) -> None:
        """Watch this one, too."""
        self._of[raw.fileno()] = (raw, whose)
        if self._epoll is not None:
            self._epoll.register(raw.fileno(), select.EPOLLIN)
        elif self._selector is not None:
            self._selector.register(raw, selectors.EVENT_READ)

    def remove(self, raw: socket.socket) -> None:
        """Watch this one no more."""
        del self._of[raw.fileno()]
        if self._epoll is not None:
            self._epoll.unregister(raw.fileno())
        elif self._selector is not None:
            self._selector.unregister(raw)

    def now(self) -> list[tuple[socket.socket, T]]:
        """Some that can be read, and whose they are; who is left out is told of the next time."""
        if self._epoll is not None:
            return [self._of[number] for number, _ in self._epoll.poll(0, AT_ONCE)]
        assert self._selector is not None
        return [self._of[key.fd] for key, _ in self._selector.select(0)]
