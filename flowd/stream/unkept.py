"""A store that keeps nothing, for who finds all that it has somewhere else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowd.stream.frames import Head
from flowd.stream.handover import Handover
from flowd.stream.journal import Journal
from flowd.stream.snapshot import Loaded, Save


class _Nowhere:
    """Segments that nobody writes or reads."""

    def begin(self, head: Head) -> None:
        """There is none."""

    def write(self, data: bytes, number: int) -> None:
        """It is let go."""

    def drop_before(self, segment: int) -> None:
        """There are none."""

    def invalidate(self) -> None:
        """Nothing is ever taken for whole."""


class NoStore:
    """Keeps nothing: each life of its daemon begins without a past."""

    def __init__(self) -> None:
        self.journal = Journal(_Nowhere())
        """Never begun, so that it lets go of all that it is given."""

    async def load(self) -> Loaded:
        """Nothing."""
        await trio.lowlevel.checkpoint()
        return Loaded()

    async def save(self, save: Save) -> None:
        """Done, since nothing is to be kept."""
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def handover(self) -> AsyncGenerator[Handover | None]:
        """Nothing can be given to another daemon."""
        await trio.lowlevel.checkpoint()
        yield None

    def disown(self) -> None:
        """Nobody would take it for anything."""

    async def close(self) -> None:
        """Nothing to let go of."""
        await trio.lowlevel.checkpoint()

    def figures(self) -> dict[str, Any]:
        """It is nowhere."""
        return {"path": None, "bytes": 0, "kept_bytes": 0}
