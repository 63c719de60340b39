"""A flowd sink: alert lines for who looks at a chart, and for admins who set them.

It changes nothing by itself: what an admin wants is asked of the component that keeps the lines,
and the answer is read from its tables.
"""

import trio
from attrs import field, frozen
from quart import Blueprint, Response, request

from flowd.plugin import BadRequest, Batch, Desk, Hot, StreamName, Streams, codec
from flowd_alerts.lines import LINES_MAX, AlertLine, Answered, Ask, LineAlert, Wanted, wanted

ANSWER_S = 5.0
"""So long the component has time to answer."""
BODY_MAX = 4096
PATH = "/api/v1/alert-lines"


@frozen
class Config:
    """`input` is the component that keeps the lines, of the kind `alert-lines`."""

    input: StreamName = field(default=StreamName("alert-lines"), metadata={"reads": LineAlert})


def listed(batch: Batch[AlertLine]) -> bytes:
    """`{"lines", "count"}`, the newest first."""
    lines = [codec.to_plain(one.value) for one in reversed(batch.records) if not one.value.removed]
    return codec.encode({"lines": lines, "count": len(lines)}) + b"\n"


def hot(config: Config) -> Hot:
    """All lines, or those of one symbol."""
    return Hot(PATH, listed, stream=f"{config.input}.lines", limit_max=2 * LINES_MAX, others=True)


class Clerk:
    """Brings what admins want to who keeps the lines."""

    def __init__(self, config: Config, streams: Streams, desk: Desk) -> None:
        self._config = config
        self._streams = streams
        self._desk = desk
        self._count = 0

    async def body(self) -> bytes:
        """What the request carries; BadRequest when that is too much."""
        found = await request.get_data()
        assert isinstance(found, bytes)
        if len(found) > BODY_MAX:
            raise BadRequest(
                "the body is too large for an alert line",
                parameter="body",
                allowed=f"at most {BODY_MAX} bytes",
                status=413,
            )
        return found

    async def ask(self, what: str, id: str = "", want: Wanted | None = None) -> AlertLine:
        """Ask, and wait for what became of it: the line as it is then; BadRequest tells why not."""
        self._count += 1
        name = self._config.input
        lines, answers = self._streams[f"{name}.lines"], self._streams[f"{name}.answers"]
        ask = Ask(f"{self._desk.now_ms()}.{self._count}", what, id, want or Wanted())
        seq = answers.head.seq
        lines.ask(ask.written())
        told: Answered | None = None
        with trio.move_on_after(ANSWER_S):
            while told is None and await answers.news(seq):
                seq = answers.head.seq
                told = answers.get(ask.asked)
        if told is None:
            self._desk.drop("alert lines without an answer", what)
            raise BadRequest(
                f"{name} does not answer: what was asked may be done later, or not at all",
                parameter="input",
                value=name,
                allowed=f"looking at GET /health/{name} and at the lines, and asking again",
                code="UNAVAILABLE",
                status=503,
            )
        line: AlertLine | None = lines.get(told.line)
        if told.code or line is None:
            raise BadRequest(
                told.message,
                parameter=told.parameter,
                value=told.value,
                allowed=told.allowed[0] if len(told.allowed) == 1 else told.allowed,
                code=told.code,
                status=told.status,
            )
        self._desk.tally.published += 1
        return line


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    """What admins do: set a line, change it, remove it."""
    clerk = Clerk(config, streams, desk)
    blueprint = Blueprint("flowd_alert_lines", __name__)

    @blueprint.post(PATH)
    @desk.for_admins
    async def add() -> Response:
        """Set an alert line"""
        want = wanted(await clerk.body(), new=True)
        return _told(await clerk.ask("add", want=want), 201)

    @blueprint.put(f"{PATH}/<id>")
    @desk.for_admins
    async def change(id: str) -> Response:
        """Change an alert line"""
        want = wanted(await clerk.body(), new=False)
        return _told(await clerk.ask("change", id[:20], want))

    @blueprint.delete(f"{PATH}/<id>")
    @desk.for_admins
    async def remove(id: str) -> Response:
        """Remove an alert line"""
        return _told(await clerk.ask("remove", id[:20]))

    return blueprint


def _told(line: AlertLine, status: int = 200) -> Response:
    body = codec.encode({"line": codec.to_plain(line)}) + b"\n"
    answer = Response(body, status, content_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer
