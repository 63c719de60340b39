"""Who may read which streams: read tokens, and tickets for who can send no header.

A stream whose component has a token of its own is opened by that, all others by the one for all;
the admin's opens everything. A browser's `EventSource` and `WebSocket` send no header of ours, so
a token is exchanged for a ticket, which travels in the address and is worth nothing soon after.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Set
from functools import partial
from random import Random
from typing import Any
from urllib.parse import unquote_plus

from attrs import evolve

from flowd.door.head import Head
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest
from flowd.values.settings import Secret

TICKET = "ticket"
"""The parameter of an address that carries one."""
TICKET_S = 60
KEY_MIN = 32
HOW = f"Authorization: Bearer TOKEN, or ?{TICKET}= with what POST /tickets answers to that header"

_TICKET = re.compile(r"(\d{1,9})\.(\d{1,15})\.([0-9a-f]{64})")


class Readers:
    """Knows all tokens. `tokens` are those that streams are read with, by stream; a stream that is
    not in it is open to all, one whose token has no value to the admin alone.

    `shared` are streams that tell of the daemon itself: any of the tokens opens them. What signs
    tickets is made here, by chance, so that they end with the daemon; or it is `key`, of several
    daemons that take each other's.
    """

    def __init__(
        self,
        tokens: Mapping[str, Secret],
        admin: Secret | None,
        clock: Clock,
        random: Random,
        shared: Set[str] = frozenset(),
        key: Secret | None = None,
    ) -> None:
        self.locked = bool(tokens)
        """Whether any stream needs a token."""
        self._needs = frozenset(tokens)
        self._clock = clock
        self._key = random.randbytes(32) if tokens else b""
        if key is not None and key.available:
            self._key = key.reveal().encode()
        opens: dict[bytes, frozenset[str]] = {}
        for stream, token in tokens.items():
            if token.available:
                text = token.reveal().encode()
                opens[text] = opens.get(text, frozenset(shared) & self._needs) | {stream}
        if admin is not None and admin.available:
            opens[admin.reveal().encode()] = self._needs
        self._tokens = list(opens)
        self._opens = list(opens.values())

    def check(self, authorization: str, *streams: str) -> None:
        """BadRequest, status 401, when this `Authorization` does not open these streams."""
        if self.locked:
            opened = self._opened(authorization)
            for stream in streams:
                self._check(opened, stream)

    def pass_for(self, authorization: str) -> Callable[[str], None]:
        """The check of one reader who stays, for any stream: what its token or ticket opened once
        stays open.
        """
        return partial(self._check, self._opened(authorization)) if self.locked else _open

    def knows(self, authorization: str) -> bool:
        """Whether this is a token or a ticket of ours, be it for other streams or too old."""
        return self._shown(authorization)[0] is not None

    def check_known(self, authorization: str) -> None:
        """BadRequest, status 401, when a token was shown that is none of ours. Who shows none may
        say later what it wants to read, and is told then.
        """
        if self.locked and _scheme(authorization) == "bearer" and not self.knows(authorization):
            raise _unauthorized("what was shown is no token or ticket of this daemon")

    def ticket(self, authorization: str) -> tuple[str, int]:
        """A ticket that opens what this token does, and when it ends in wall milliseconds;
        BadRequest for who has none.
        """
        if not self.locked:
            raise BadRequest(
                "nothing here is read with a token: neither flowd.read_token nor one of a component"
                " is set",
                parameter="Authorization",
                allowed="reading without a ticket",
                code="FORBIDDEN",
                status=403,
            )
        shown, ticket_ends_ms = self._shown(authorization)
        if shown is None or ticket_ends_ms is not None:
            # A ticket is no token: else one that was overheard could be renewed for ever.
            raise _unauthorized("a ticket is for who shows a token")
        expires_ms = self._clock() + TICKET_S * 1000
        return f"{shown}.{expires_ms}.{self._sign(shown, expires_ms)}", expires_ms

    def carries_ticket(self, head: Head) -> bool:
        """Whether a request shows a ticket in its address."""
        return self.locked and any(name == TICKET for name, _ in head.query)

    def unveil(self, head: Head) -> Head:
        """A request with the ticket moved from its address to its header: nobody behind the door
        sees it among the parameters, and none can write it into a log.
        """
        if not self.carries_ticket(head):
            return head
        given = next(value for name, value in head.query if name == TICKET)
        # What is no ticket opens nothing, and must not become a line of the head.
        bearer = f"Bearer {given if _TICKET.fullmatch(given) else '-'}"
        first, *others = head.raw.split(b"\r\n")
        method, target, version = first.split(b" ")
        path, _, query = target.partition(b"?")
        kept = b"&".join(part for part in query.split(b"&") if not _is_ticket(part))
        first = b" ".join((method, path + b"?" + kept if kept else path, version))
        others = [line for line in others if not line.lower().startswith(b"authorization:")]
        return evolve(
            head,
            query=tuple(pair for pair in head.query if pair[0] != TICKET),
            headers={**head.headers, "authorization": bearer},
            raw=b"\r\n".join((first, b"Authorization: " + bearer.encode(), *others)),
        )

    def _opened(self, authorization: str) -> frozenset[str]:
        shown, expires_ms = self._shown(authorization)
        if shown is None or (expires_ms is not None and expires_ms <= self._clock()):
            return frozenset()
        return self._opens[shown]

    def _shown(self, authorization: str) -> tuple[int | None, int | None]:
        """Which token this is or stands for, None if none of ours; and when it ends, if it does.
        What is compared is compared in constant time, and with each token.
        """
        if _scheme(authorization) != "bearer":
            return None, None
        given = authorization.partition(" ")[2].strip()
        ours = [hmac.compare_digest(given.encode(), token) for token in self._tokens]
        if any(ours):
            return ours.index(True), None
        if (ticket := _TICKET.fullmatch(given)) is not None:
            shown, expires_ms = int(ticket[1]), int(ticket[2])
            known = shown < len(self._tokens)
            if known and hmac.compare_digest(self._sign(shown, expires_ms), ticket[3]):
                return shown, expires_ms
        return None, None

    def _sign(self, shown: int, expires_ms: int) -> str:
        # With the token in it, since another daemon with this key may have others.
        said = b"%d.%d.%s" % (shown, expires_ms, self._tokens[shown])
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()

    def _check(self, opened: frozenset[str], stream: str) -> None:
        if stream in self._needs and stream not in opened:
            raise _unauthorized(f"{stream} is read with a token that was not shown")


def check_key(_: object, attribute: Any, value: Secret | None) -> None:
    """ValueError for what somebody who has seen a ticket could guess."""
    if value is not None and value.available and len(value.reveal()) < KEY_MIN:
        raise ValueError(
            f"{attribute.name}: expected at least {KEY_MIN} characters, made by chance"
        )


def _open(stream: str) -> None:
    """No stream needs a token."""


def _scheme(authorization: str) -> str:
    return authorization.partition(" ")[0].lower()


def _is_ticket(part: bytes) -> bool:
    return unquote_plus(part.partition(b"=")[0].decode("ascii")) == TICKET


def _unauthorized(why: str) -> BadRequest:
    return BadRequest(why, parameter="Authorization", allowed=HOW, code="UNAUTHORIZED", status=401)
