"""A Trio loop in a thread of its own: tests and daemons may stall, it goes on."""

import threading
from collections.abc import Awaitable, Callable

import trio

from tests.edge.peers import WAIT_S

Serve = Callable[[Callable[[], None]], Awaitable[None]]


class Beside:
    """Runs `serve(ready)` from `start` until `stop`. `soon` may be called from any thread."""

    def __init__(self, name: str, serve: Serve) -> None:
        self._serve = serve
        self._token: trio.lowlevel.TrioToken
        self._scope = trio.CancelScope()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, and wait until it is ready."""
        self._thread.start()
        assert self._up.wait(WAIT_S)

    def stop(self) -> None:
        """End it, and wait for that."""
        self.soon(self._scope.cancel)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def soon(self, act: Callable[[], object]) -> None:
        """Have something done in its thread; does not wait."""
        self._token.run_sync_soon(act)

    def _run(self) -> None:
        trio.run(self._live)

    async def _live(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            await self._serve(self._up.set)
