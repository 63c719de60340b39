"""The simulated Hyperliquid and Hydromancer on loopback, over one chain, for daemons in processes.

Few accounts trade much, so that whoever visits them always finds something new. It has a thread and
a Trio loop of its own: tests and daemons may stall, it goes on.
"""

import time
from collections.abc import Callable
from functools import partial

import trio
from flowd_simulator.chain.live import Chain
from flowd_simulator.chain.past import NO_PAST
from flowd_simulator.faults import Faults
from flowd_simulator.hydromancer import DEMO_KEY, Hydromancer
from flowd_simulator.hyperliquid import Addresses, Hyperliquid, Terms

from tests.edge.beside import Beside

ACCOUNTS = 60
COINS = ("BTC", "ETH", "SOL", "HYPE")
UNLIMITED = 1_000_000
"""Each life of a daemon counts its weight anew: the venue does not."""


class Venue:
    """Open it with `with`. `trade` and `act` may be called from any thread, and never wait."""

    def __init__(self, *, seed: int = 7, fills_per_s: float = 80.0) -> None:
        self.fills_per_s = fills_per_s
        self.chain = Chain(seed, _now_ms, past=NO_PAST, accounts=ACCOUNTS)
        self.faults = Faults()
        self.exchange = Hyperliquid(
            seed,
            _now_ms,
            chain=self.chain,
            terms=Terms(weight_per_min=UNLIMITED, connections_per_min=UNLIMITED),
            faults=self.faults,
        )
        self._fills = Hydromancer(seed, _now_ms, chain=self.chain)
        self._at: Addresses
        self._fills_url = ""
        self._beside = Beside("venue", self._serve)

    def __enter__(self) -> "Venue":
        self._beside.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._beside.stop()

    @property
    def discovery(self) -> str:
        """A source `traders`."""
        coins = ", ".join(f'"{coin}"' for coin in COINS)
        return (
            f'[sources.traders]\nkind = "hyperliquid-discovery"\ncoins = [{coins}]\n'
            f'url = "{self._at.websocket}"\nrestart_delay = "200ms"\nrestart_delay_max = "200ms"\n'
        )

    @property
    def fills(self) -> str:
        """A source `told`: every fill."""
        return (
            f'[sources.told]\nkind = "hydromancer"\nsubscription = "allFills"\n'
            f'url = "{self._fills_url}"\napi_key = {{ env = "VENUE_KEY" }}\n'
            'restart_delay = "200ms"\nrestart_delay_max = "200ms"\n'
        )

    @property
    def info(self) -> str:
        """The `info_url` of a transform."""
        return f'info_url = "{self._at.info}"\n'

    @property
    def env(self) -> dict[str, str]:
        """The key of `fills`."""
        return {"VENUE_KEY": DEMO_KEY}

    def trade(self, on: bool = True) -> None:
        """Let everybody trade, or nobody."""
        self.act(partial(setattr, self.chain.tape, "fills_per_s", self.fills_per_s if on else 0.0))

    def act(self, what: Callable[[], object]) -> None:
        """Have something done in the venue's thread."""
        self._beside.soon(what)

    async def _serve(self, ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            self._at = await nursery.start(self.exchange.serve)
            self._fills_url = await nursery.start(self._fills.serve)
            nursery.start_soon(self.chain.run)
            ready()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
