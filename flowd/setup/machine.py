"""The machine that a daemon runs on, as far as it asks: its clocks, its chance and its network."""

import socket
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from attrs import field, frozen

from flowd.upstream.connection import Dial, dial
from flowd.values.clock import Clock, Stopwatch, stopwatch, system_clock, uptime

if TYPE_CHECKING:
    import httpx2


@frozen
class Machine:
    """What the daemon takes from the machine it runs on. Tests hand in their own."""

    clock: Clock = system_clock
    random: Random = field(factory=SystemRandom)
    dial: Dial = dial
    stopwatch: Stopwatch = stopwatch
    uptime: Stopwatch = uptime
    transport: "httpx2.AsyncBaseTransport | None" = None
    """What HTTP requests go over; None for the network."""
    host: str = field(factory=socket.gethostname)
    """What it is called."""
