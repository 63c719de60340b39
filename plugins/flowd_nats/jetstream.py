"""JetStream, as far as flowd needs it: a stream for one subject, its last message, and messages
that are stored in order or not at all.

Each message says which sequence the one before it has. So where one was not stored, none behind it
is; what comes late from a connection that was given up is not stored either; and of two daemons
that write to one stream only one gets through.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, frozen

from flowd_nats.server import Server
from flowd_nats.wire import NO_RESPONDERS, Broken, Message

WRONG_LAST = 10071
NO_STREAM = 10059
TOO_LARGE = 10054


class Conflict(Broken):
    """The stream's end is not where we left it."""


class Refused(Broken):
    """JetStream does not do it: a setting or a limit of somebody's, not the network. `code` is what
    JetStream numbers its errors by.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@frozen
class State:
    """A stream's last sequence ever, whether it has any message, and how many bytes one may have;
    where it does not say, none or fewer.
    """

    last: int
    empty: bool
    most: int


@define(eq=False)
class JetStream:
    """The JetStream of one server or cluster."""

    server: Server

    async def open(self, name: str, subject: str, limits: Mapping[str, object]) -> State:
        """How the stream of this subject is; it is created with these limits if it is not there.
        One that is there is taken as it is, and must not carry other subjects; Refused says what is
        wrong.
        """
        try:
            found = await self._api(f"STREAM.INFO.{name}")
        except Refused as error:
            if error.code != NO_STREAM:
                raise
            wanted = {"name": name, "subjects": [subject], **limits}
            found = await self._api(f"STREAM.CREATE.{name}", wanted)
        subjects, state = found["config"].get("subjects"), found["state"]
        if subjects != [subject]:
            raise Refused(f"stream {name} is for {subjects}, not for {subject!r} alone")
        most = int(found["config"].get("max_msg_size", -1))
        return State(int(state["last_seq"]), not state["messages"], most)

    async def headers(self, name: str, sequence: int) -> Mapping[str, str]:
        """The headers of a message."""
        found = await self._api(f"STREAM.MSG.GET.{name}", {"seq": sequence})
        return parsed(base64.b64decode(found["message"].get("hdrs", "")))

    async def append(
        self,
        name: str,
        subject: str,
        last: int,
        messages: Sequence[tuple[Mapping[str, str], bytes]],
    ) -> int:
        """Store these behind the sequence `last`, and return the last one's own: all are in the
        stream then. Conflict when `last` is not the last one, Refused, or Broken: then some of the
        first of them may be stored, or all.
        """
        requests = []
        for number, (headers, body) in enumerate(messages, last):
            expected = {"Nats-Expected-Stream": name, "Nats-Expected-Last-Sequence": str(number)}
            requests.append((subject, written({**headers, **expected}), body))
        for answer in await self.server.ask(requests):
            told = acknowledged(answer, name)
            last += 1
            if told.get("duplicate") or told["seq"] != last:
                raise Conflict(f"{name}: stored {told['seq']}, where {last} was to come")
        return last

    async def _api(self, what: str, question: Mapping[str, object] | None = None) -> dict[str, Any]:
        body = b"" if question is None else json.dumps(question).encode()
        (answer,) = await self.server.ask([(f"$JS.API.{what}", b"", body)])
        return acknowledged(answer, what)


def acknowledged(answer: Message, what: str) -> dict[str, Any]:
    """What JetStream answers; Conflict or Refused where it is an error."""
    if answer.status == NO_RESPONDERS:
        raise Refused(f"nobody answers for {what}: is JetStream on, and the stream there?")
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Refused(f"gives no answer that we know to {what}")
    error = told.get("error")
    if error:
        number, words = int(error.get("err_code", 0)), error.get("description", error)
        if number == WRONG_LAST:
            raise Conflict(f"{what}: {words}")
        raise Refused(f"{what}: {words}", number)
    return told


def written(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def parsed(headers: bytes) -> dict[str, str]:
    """Headers as they were sent."""
    lines = headers.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
