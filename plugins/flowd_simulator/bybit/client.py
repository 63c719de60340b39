"""One WebSocket client of Bybit: what it follows, and what it may ask."""

import json
from collections.abc import Collection
from typing import Any, Final

import trio

from flowd_simulator.bybit.terms import Terms
from flowd_simulator.session import Session

TOPIC: Final = "allLiquidation."


class Client:
    """A session, with the topics that it follows."""

    def __init__(self, session: Session, number: int, symbols: Collection[str], terms: Terms):
        self.session = session
        self.topics: dict[str, None] = {}
        """A set that keeps its order."""
        self._id = f"simulated-{number}"
        self._symbols = symbols
        self._terms = terms
        self._heard_at = trio.current_time()

    def say(self, text: str) -> None:
        """Send a message."""
        self.session.send(text)

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        self._heard_at = trio.current_time()
        try:
            asked = json.loads(message)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self._answer({}, "", success=False, words="Params Error")
            return
        op = asked.get("op")
        if op == "ping":
            self._answer(asked, "ping", success=True, words="pong")
        elif op in ("subscribe", "unsubscribe"):
            words = self._change(op, asked.get("args"))
            self._answer(asked, op, success=not words, words=words)
        else:
            self._answer(asked, str(op), success=False, words=f"unknown op: {op}")

    async def watch(self) -> None:
        """Cut off who has said nothing for too long."""
        while True:
            left_s = self._heard_at + self._terms.silence_s - trio.current_time()
            if left_s <= 0:
                return self.session.drop()
            await trio.sleep(left_s)

    def _change(self, op: str, topics: Any) -> str:
        """Follow these topics, or none of them: then why. Any: what a client sends is anything."""
        if not isinstance(topics, list) or not all(isinstance(one, str) for one in topics):
            return "error:args is not a list of topics"
        if sum(map(len, topics)) > self._terms.args_max:
            return f"error:args size >{self._terms.args_max}"
        if op == "unsubscribe":
            for topic in topics:
                self.topics.pop(topic, None)
            return ""
        for topic in topics:
            if not topic.startswith(TOPIC) or topic.removeprefix(TOPIC) not in self._symbols:
                return f"error:handler not found,topic:{topic}"
            if topic in self.topics:
                return f"error:already subscribed,topic:{topic}"
        self.topics |= dict.fromkeys(topics)
        return ""

    def _answer(self, asked: dict[str, Any], op: str, *, success: bool, words: str) -> None:
        req_id = asked.get("req_id", "")
        said = {"success": success, "ret_msg": words, "conn_id": self._id, "req_id": req_id}
        self.say(json.dumps({**said, "op": op}, separators=(",", ":")))
