"""What a process is of a pair: it stands by, or leads, one after the other."""

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from attrs import Factory, evolve, frozen

from flowd.daemon import Daemon
from flowd.door.beyond import Nobody
from flowd.operate.status import LoopMeter
from flowd.pair.lead import Lead, Suspension
from flowd.pair.ledger import Ledger
from flowd.pair.standby import Standby, Taken
from flowd.setup.config import Config
from flowd.setup.machine import Machine
from flowd.setup.registry import Registry
from flowd.setup.stages import instrumented
from flowd.setup.warm import Spare, Warm, warmed
from flowd.stream.replica import SqliteReplica
from flowd.stream.stores import boot_id
from flowd.stream.volatile import MemoryStore

logger = logging.getLogger("flowd")

LeadsTo = Callable[[Callable[[], None], LoopMeter], None]
"""Is told what ends what runs, when the process is to end."""


class Sockets(Protocol):
    """What this process listens on."""

    @property
    def addresses(self) -> list[str]:
        """Where it is found."""
        ...

    async def listeners(self) -> list[trio.SocketListener]:
        """For one daemon, which closes them."""
        ...


@asynccontextmanager
async def ledger_of(config: Config) -> AsyncGenerator[Ledger | None]:
    """Where both daemons meet, within this block; None where there is no pair."""
    if config.pair is None:
        yield None
        return
    async with config.pair.definition.open(config.pair.settings) as ledger:
        yield ledger


def own_name(addresses: list[str]) -> str:
    """What this daemon is called in the pair: where it is found, and which process it is."""
    return " ".join([f"{Machine().host}:{os.getpid()}", *addresses])


async def stand_by(
    config: Config,
    registry: Registry,
    ledger: Ledger,
    state: Path,
    sockets: Sockets,
    leads_to: LeadsTo,
    warm: Warm,
    takeovers: int,
) -> Taken | None:
    """Stand by until the lease is ours; None when the process is to end before. Meanwhile who asks
    how it is gets an answer, and who asks for anything else is told who leads.
    """
    assert config.pair is not None
    replica = SqliteReplica(state, boot_id())
    taken: Taken | None = None
    try:
        # Before any socket: one who is refused must not have taken another's away.
        await replica.known()
        listeners = await sockets.listeners()
        name = own_name(sockets.addresses)
        standby = Standby(ledger, replica, name, config.pair.patience_s)
        standby.takeovers = takeovers
        async with trio.open_nursery() as nursery:
            # Nothing runs in it; it answers, with all limits that clients have.
            nobody = Daemon(evolve(config, components=[]), registry, store=MemoryStore())
            nobody.pair += [standby.figures, warm.figures]
            nobody.peers.tell("pair", "standby")
            standby.on_led = warm.begin
            await nursery.start(partial(nobody.run, listeners))
            nobody.door.beyond = Nobody(
                "this daemon stands by, and serves nobody until the other one of its pair is gone; "
                "/status says which one leads"
            )
            logger.info("stands by on %s", ", ".join(sockets.addresses))
            with trio.CancelScope() as scope:
                leads_to(scope.cancel, nobody.loop)
                taken = await standby.run()
            nobody.again = None if taken is None else "it leads from here on"
            nobody.stop()
            await nobody.ended.wait()
    finally:
        with trio.CancelScope(shield=True):
            await replica.close()
    return taken


@asynccontextmanager
async def leading(ledger: Ledger, taken: Taken, addresses: list[str]) -> AsyncGenerator[Lead]:
    """The lease, kept within this block."""
    lead = Lead(ledger, taken.token, own_name(addresses), taken_at=taken.at)
    async with trio.open_nursery() as nursery:
        with instrumented(Suspension(lead, ledger.ttl_s)):
            nursery.start_soon(lead.run)
            yield lead
        nursery.cancel_scope.cancel()


@frozen
class Turn:
    """A time in which this process runs its daemon: alone, or as the one of a pair that leads."""

    lead: Lead | None = None
    anew: str | None = None
    """Why all streams begin new epochs; None when they go on."""
    spares: Mapping[str, Spare] = Factory(dict)
    """What was told to its sources before."""


@asynccontextmanager
async def turn(
    config: Config,
    registry: Registry,
    ledger: Ledger | None,
    state: Path,
    sockets: Sockets,
    leads_to: LeadsTo,
    takeovers: int = 0,
) -> AsyncGenerator[Turn | None]:
    """Wait until it is this process' turn, which it is within the block; None when the process is
    to end before. It took the lease so often before.
    """
    if ledger is None:
        yield Turn()
        return
    async with warmed(config) as warm:
        taken = await stand_by(config, registry, ledger, state, sockets, leads_to, warm, takeovers)
        if taken is None:
            yield None
            return
        async with leading(ledger, taken, sockets.addresses) as lead:
            lead.takeovers = takeovers + 1
            yield Turn(lead, taken.anew, warm.ready)
