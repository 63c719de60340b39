"""Room for connections: how many there may be, from one address and from all, and who goes when
there is none.
"""

from collections import Counter
from typing import Any

import trio

from flowd.door.addresses import counted, most
from flowd.door.visit import Visit, Waiting
from flowd.values.errors import BadRequest
from flowd.values.limits import Limits

CONNECTIONS_SPARE = 200
"""Connections beyond `max_clients` that may be open for polls and pages at the same time."""
PER_ADDRESS = 200
COMING_S = 3.0
"""Whose request's head is not there after so long, goes where room is needed."""
FAREWELLS_MAX = 100
"""Connections that are told at the same time that there is no room; more are closed unheard."""
FAREWELL_S = 1.0


class Room:
    """The connections that are no live clients (or not yet).

    Where there is no room for one more, the one that waits longest for its client's next request
    makes room: nobody is cut off in the middle of an answer.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting = Waiting()
        self.made = 0
        self.open = 0
        self._per_address: Counter[str] = Counter()
        self._farewells = 0

    def enter(self, visit: Visit, live: int, live_here: int) -> None:
        """Count one more, beside so many live clients of all and of this address; BadRequest when
        there is no room for it. Whoever enters, leaves.
        """
        address = counted(visit.address)
        everybody = self.limits.max_clients + CONNECTIONS_SPARE
        here = most(address, self.limits.max_connections_per_address, PER_ADDRESS, everybody)
        exempt = address == "local" or visit.address in self.limits.trusted_proxies
        if not exempt and self._per_address[address] + live_here >= here:
            if not self._make_room(address):
                raise _full("max_connections_per_address", here, f"{address} has")
        elif self.open + live >= everybody and not self._make_room():
            raise _full("max_clients", self.limits.max_clients, "there are")
        self.open += 1
        self._per_address[address] += 1

    def leave(self, visit: Visit) -> None:
        """This one is gone, or lives on as a live client."""
        address = counted(visit.address)
        self.open -= 1
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]

    def _make_room(self, address: str | None = None) -> bool:
        """Dismiss who waits longest, of an address or of all; False when nobody does."""
        waiting, before = self.waiting, trio.current_time() - COMING_S
        there = [waiting.rest, [visit for visit, began in waiting.coming.items() if began < before]]
        for visits in there:
            for visit in visits:
                if address is None or counted(visit.address) == address:
                    waiting.rest.pop(visit, None)
                    waiting.coming.pop(visit, None)
                    visit.dismiss()
                    self.made += 1
                    return True
        return False

    async def say_farewell(self, stream: trio.SocketStream, answer: bytes) -> None:
        """Tell a connection that there is no room for it, so that its client reads that, and close
        it.
        """
        if self._farewells < FAREWELLS_MAX:
            self._farewells += 1
            try:
                with trio.move_on_after(FAREWELL_S):
                    await stream.send_all(answer)
                    await stream.send_eof()
                    # Closed with something unread, it would be reset before the answer is read.
                    while await stream.receive_some(65536):
                        pass
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass
            finally:
                self._farewells -= 1
        await trio.aclose_forcefully(stream)

    def figures(self) -> dict[str, Any]:
        """What is open now, and who made room, for `/status`."""
        return {"connections_open": self.open, "made_room": self.made}

    def bounds(self) -> dict[str, Any]:
        """The limits that something can run into here, for `/status`."""
        return {
            "connections_spare": CONNECTIONS_SPARE,
            "max_connections_per_address": self.limits.max_connections_per_address or PER_ADDRESS,
        }


def _full(parameter: str, value: int, who: str) -> BadRequest:
    return BadRequest(
        f"{who} as many connections as this daemon takes",
        parameter=parameter,
        value=value,
        allowed="try again later; keep one connection for many requests",
        code="TOO_MANY_CONNECTIONS",
        status=503,
    )
