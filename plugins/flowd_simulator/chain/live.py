"""The chain as it runs: block after block, for all who tell of it."""

from collections.abc import Callable
from random import Random

import trio

from flowd_simulator.chain.accounts import ACCOUNTS
from flowd_simulator.chain.past import Past
from flowd_simulator.chain.rows import Block
from flowd_simulator.chain.tape import Tape
from flowd_simulator.market import Market
from flowd_simulator.session import Clock

BLOCK_MIN_S, BLOCK_MAX_S = 0.07, 0.2
BEHIND_MAX_S = 1.0
"""A clock that leaps is not followed further back than this."""


class Chain:
    """One chain for several services. Who makes it runs it; who is given it only listens."""

    def __init__(
        self,
        seed: int,
        clock: Clock,
        *,
        fills_per_s: float = 0.0,
        market: Market | None = None,
        past: Past | None = None,
        accounts: int = ACCOUNTS,
    ) -> None:
        self.tape = Tape(seed, fills_per_s, market=market, past=past, accounts=accounts)
        self.listeners: list[Callable[[Block], None]] = []
        """Called with each block, at once."""
        self._clock = clock
        self._random = Random(f"{seed}/blocks")

    def advance(self, seconds: float) -> Block:
        """Have the trading of so many seconds happen in one block, now."""
        block = self.tape.block(self._clock(), seconds)
        for listener in self.listeners:
            listener(block)
        return block

    async def run(self) -> None:
        """Block after block, until cancelled."""
        before = trio.current_time()
        while True:
            await trio.sleep(self._random.uniform(BLOCK_MIN_S, BLOCK_MAX_S))
            now = trio.current_time()
            self.advance(min(now - before, BEHIND_MAX_S))
            before = now
