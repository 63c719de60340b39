"""One WebSocket client of OKX: what it follows, and what it may ask."""

import json
from collections.abc import Callable
from typing import Any, Final

import trio

from flowd_simulator.okx.terms import Terms
from flowd_simulator.session import Session

CHANNEL: Final = "liquidation-orders"
KINDS: Final = ("SWAP", "FUTURES", "MARGIN", "OPTION")
NOTICE: Final = "The connection will soon be closed for a service upgrade. Please reconnect."


class Client:
    """A session, with the kinds of instrument that it follows. `begin` is called whenever it
    begins to follow one.
    """

    def __init__(
        self,
        session: Session,
        number: int,
        terms: Terms,
        lifetime_s: float,
        begin: Callable[["Client", str], None],
    ) -> None:
        self.session = session
        self.kinds: dict[str, None] = {}
        """A set that keeps its order."""
        self._id = f"simulated{number}"
        self._terms = terms
        self._ends_at = trio.current_time() + lifetime_s
        self._begin = begin
        self._said_at = trio.current_time()
        self._noticed = trio.Event()

    def say(self, text: str) -> None:
        """Send a message."""
        self._said_at = trio.current_time()
        self.session.send(text)

    def notice(self, within_s: float) -> None:
        """Announce that the connection will be closed, and close it then."""
        self._ends_at = trio.current_time() + within_s
        self._noticed.set()
        self._event("notice", code="64008", msg=NOTICE)

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        if message == "ping":
            self.say("pong")
            return
        try:
            asked = json.loads(message)
        except ValueError:
            asked = None
        op = asked.get("op") if isinstance(asked, dict) else None
        args = asked.get("args") if isinstance(asked, dict) else None
        well_formed = isinstance(args, list) and args and all(isinstance(a, dict) for a in args)
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not well_formed:
            words = f"Invalid request: {message!s:.200}"
            self._event("error", code="60012", msg=words)
            return
        for arg in args:
            self._change(op, arg, asked.get("id"))

    async def watch(self) -> None:
        """Announce the end of the connection before it is there, and let go who hears nothing."""
        while True:
            now, terms = trio.current_time(), self._terms
            quiet_at = self._said_at + terms.silence_s
            if now >= quiet_at:
                return self.session.close(4004, f"No data received in {terms.silence_s:g}s.")
            if now >= self._ends_at:
                return self.session.close(1001, "Service upgrade")
            if self._noticed.is_set():
                await trio.sleep_until(min(quiet_at, self._ends_at))
                continue
            notice_at = self._ends_at - terms.notice_s
            if now >= notice_at:
                self.notice(terms.notice_s)
                continue
            with trio.move_on_at(min(quiet_at, notice_at)):
                await self._noticed.wait()

    def _change(self, op: str, arg: dict[str, Any], id: Any) -> None:
        """Begin or end to follow one kind. Keys beside the two that count are not even looked at.
        Any: what a client sends is anything.
        """
        channel, kind = arg.get("channel"), arg.get("instType")
        if channel != CHANNEL or kind not in KINDS:
            asked = ",".join(f"{name}:{value}" for name, value in arg.items() if name != "channel")
            words = f"Wrong URL or channel:{channel},{asked} doesn't exist. "
            advice = "Please use the correct URL, channel and parameters referring to API document."
            self._event("error", msg=words + advice, code="60018")
            return
        plain = {"channel": channel, "instType": kind}
        echo = {"id": id} if isinstance(id, str) else {}
        self._event(op, **echo, arg=plain)
        if op == "unsubscribe":
            self.kinds.pop(kind, None)
        elif kind not in self.kinds:
            self.kinds[kind] = None
            self._begin(self, kind)

    def _event(self, event: str, **members: object) -> None:
        said = {"event": event, **members, "connId": self._id}
        self.say(json.dumps(said, ensure_ascii=False, separators=(",", ":")))
