"""What two daemons of one configuration share: a lease, and the frames of the one that has it.

The core knows no server: a plugin brings a kind of ledger. What it says here holds for all of them.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from attrs import frozen

from flowd.stream.handover import Known


class Deposed(Exception):
    """Another daemon has the lease, or has had it meanwhile: whoever gets this leads no more."""


class Claim(Enum):
    """On what ground the lease is asked for."""

    NONE = "none"
    """It is not: only how things stand is."""
    KNOWING = "knowing"
    """Whoever asks may know all that there is."""
    ANEW = "anew"
    """Nobody came who does."""


@frozen
class Shipped:
    """A frame on its way: its number, whose it is, and what it says."""

    number: int
    life: str
    payload: bytes


@frozen
class Standing:
    """How things stand, to who does not lead.

    `token` is that of the lease where it was given, else `leader` says who has it, None where
    nobody has. Of frames the ledger knows whose they are, `life`, None where it knows of none, the
    `first` that it still has and the `last` that it had.
    """

    token: int | None = None
    leader: str | None = None
    life: str | None = None
    first: int = 0
    last: int = 0


@frozen
class Follower:
    """Who stands by: its name and address, how far it is, and the name of the handover that it
    wants, if it wants one.
    """

    name: str
    known: Known
    wants: str | None = None


class Ledger(Protocol):
    """A lease and frames, kept where both daemons reach them. Each method raises UpstreamError,
    with a sentence, where it cannot be reached; it may then have done what it was asked to.

    A token is larger than any that was given before, also where the ledger has lost all that it
    had. Who comes with one finds itself deposed as soon as a larger one was given, and only then:
    one whose lease merely ran out has it again by whatever it asks for next.
    """

    ttl_s: float
    """For so long a lease is given, …"""
    first_s: float
    """… but for the first one of who takes it: it starts meanwhile, and its loop may be held."""

    async def take(self, who: Follower, claim: Claim) -> Standing:
        """Say that somebody stands by, and take the lease for it if nobody has it, in one step. Who
        claims to be KNOWING gets it if it knows all frames that the ledger had; where the ledger
        knows of no frames, if it has led. Who begins ANEW gets it whatever it knows.
        """
        ...

    async def renew(self, token: int) -> Follower | None:
        """Have the lease for as long again. Who stands by, None for nobody; Deposed."""
        ...

    async def give_up(self, token: int) -> None:
        """Let somebody else have it at once. Nothing where it is somebody else's."""
        ...

    async def ship(self, token: int, after: int, frames: Sequence[Shipped]) -> None:
        """Keep these, in order. Where the last one that is there is not `after`, or of another
        life, they take the place of all that is there. Once more is no harm. Deposed.
        """
        ...

    async def trim(self, token: int, upto: int) -> None:
        """Let go of frames up to this one. Deposed."""
        ...

    async def read(self, after: int, wait_s: float) -> Sequence[Shipped]:
        """Frames of later numbers, about a megabyte at most, as soon as there is one; none after so
        long.
        """
        ...

    async def offer(self, handover: str, part: bytes) -> bool:
        """Put a part of a handover there; False where enough of them lie there unread."""
        ...

    async def next_part(self, handover: str, wait_s: float) -> bytes | None:
        """Take the next part away; None where none comes for so long."""
        ...
