"""What the server says against a connection, and what follows from it: nothing, another connection
at once, or a long pause.
"""

import re
from typing import Any, Final

import trio

from flowd.plugin import Feed, UpstreamError, UpstreamSilent
from flowd_hydromancer import refusal
from flowd_hydromancer.frames import Frame
from flowd_hydromancer.place import Place
from flowd_hydromancer.refusal import Redial, Refused
from flowd_hydromancer.veil import Veil

REASON_S: Final = 1.0
"""A refused subscription and the error that says why are two messages, in either order."""
SAID_MAX: Final = 200
"""Of the server's words so many characters are told on."""

_FINAL_CLOSE = re.compile(r"^closed by upstream with (1008|4[0-9]{3})\b")


class Objections:
    """The errors of one connection, and its end, for the feed called `name`."""

    def __init__(self, feed: Feed[Any], name: str, place: Place, veil: Veil) -> None:
        self.welcomed = False
        self.subscribed = False
        self._feed = feed
        self._name = name
        self._place = place
        self._veil = veil
        self._failed = trio.Event()
        self._said = ""
        """What the server said last that was no good news."""

    def error(self, frame: Frame) -> None:
        """An error message. It is counted, unless it ends the connection by Refused or Redial."""
        said = self._shown(refusal.words(frame.code, frame.message))
        low, kind = said.lower(), refusal.kind_of(said)
        about_session = "session" in low or "cursor" in low or not self.welcomed
        if self._place.asked and about_session and kind != "limit":
            raise self._session_refused(said)
        self._feed.drop("error from upstream", said)
        self._said = said
        if refusal.names(frame.subscription) <= {self._name}:
            self._refused_if_known(said)
            if self._failed.is_set():
                raise Refused("subscription", said)

    def update(self, frame: Frame) -> bool:
        """An acknowledgement: whether it says that the feed is subscribed."""
        if self._name not in refusal.names(frame.failed):
            return self._name in refusal.names(frame.subscribed)
        why = self._shown(refusal.words(frame.message, refusal.reasons(frame.failed)))
        self._refused_if_known(why)
        self._refused_if_known(self._said)
        self._said = self._said or why
        self._failed.set()
        return False

    async def expect_reason(self) -> None:
        """Give a refused subscription a moment to be explained by an error; it ends by Refused."""
        await self._failed.wait()
        await trio.sleep(REASON_S)
        raise Refused("subscription", self._said)

    def reason(self, errors: list[UpstreamError]) -> UpstreamError:
        """What to say of the end. Nothing of it shows a secret, and the server's words may explain
        it.
        """
        error = next((one for one in errors if isinstance(one, Refused | Redial)), errors[0])
        if isinstance(error, Refused | Redial):
            return error
        status, kind = refusal.status_of(error), refusal.kind_of_end(error)
        text = self._veil.hide(str(error)) + (f"; it said: {self._said}" if self._said else "")
        final = (status is not None and 400 <= status < 500) or _FINAL_CLOSE.match(text)
        if final and self._place.asked and not self.welcomed and kind != "limit":
            return self._session_refused(text)
        if kind is not None:
            return Refused(kind, text)
        return UpstreamSilent(text) if isinstance(error, UpstreamSilent) else UpstreamError(text)

    def _session_refused(self, why: str) -> Redial:
        self._place.forget()
        return Redial(f"the session was refused: {why}")

    def _refused_if_known(self, said: str) -> None:
        """A limit that is reached while the feed delivers costs nothing; anything else ends it."""
        kind = refusal.kind_of(said)
        if kind is not None and not (kind == "limit" and self.subscribed):
            raise Refused(kind, said)

    def _shown(self, said: str) -> str:
        return self._veil.hide(said)[:SAID_MAX]
