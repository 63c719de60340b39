"""Sinks that clients come to: `Live` for those who stay, `Hot` for those who poll. Only the wire
format is a plugin's.

Resume, gaps, slow clients, limits, handshakes, pings, caching and compression are the door's and
the channel's.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from attrs import frozen

from flowd.channel.channel import Client, Encode, Warn
from flowd.stream.inputs import Streams
from flowd.stream.log import RETAIN_MAX, Stream
from flowd.values import filters
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest
from flowd.values.record import Batch, Position, Record

ERRORS_MAX = 20
"""Mistakes that a WebSocket client may make in one connection before it is closed."""


@frozen
class Live:
    """A path where clients stay connected and follow streams.

    `path` may hold `{names}`. `encode` makes a batch into a body part (HTTP) or a list of text
    messages (WebSocket). With `head` it is an HTTP response without end, otherwise
    (`websocket=True`) a WebSocket. `idle` is sent to quiet HTTP clients every 15 s, `welcome`
    first, `goodbye` at shutdown. `warn` words the SLOW_CONSUMER warning: (stream, records behind)
    to a payload. `open` is called for each client, to follow streams; by default it follows the
    path's `{stream}` with the query's `after`, `limit` and filters. `receive` gets what a
    WebSocket client says.
    """

    path: str
    encode: Encode
    head: bytes = b""
    idle: bytes = b""
    welcome: bytes = b""
    goodbye: bytes = b""
    gzip: bool = False
    websocket: bool = False
    warn: Warn | None = None
    error: Callable[[BadRequest], bytes] | None = None
    heartbeat: "Callable[[Session], bytes] | None" = None
    open: "Callable[[Session], None] | None" = None
    receive: "Callable[[Session, str], None] | None" = None


@frozen
class Tail:
    """How the body of a poll ends at this instant. `state` is the part of it which makes the answer
    another one (it goes into the ETag): a word such as `live`.
    """

    body: bytes
    state: str = ""


@frozen
class Hot:
    """A path that many clients poll: `render` makes the body, JSON, from a stream's newest
    records.

    The stream is the path's `{stream}`, or `stream` if given. The door keeps the body, plain and
    gzipped, until the position moves, and answers `ETag`, 304, `after=`, `limit=` and the filters
    by itself.

    `prepare` is called for each record before `render`, with the loop let go in between: what it
    makes should be kept by whoever made it. `tail` ends the body with what changes without the
    stream: it is made anew for every answer, at most 64 KiB of it. `instead` may answer by itself,
    from the query. `limit_max` is the default of `limit` and the most of it. With `others`, the
    sink's own `routes` answer the methods that are not GET.
    """

    path: str
    render: Callable[[Batch[Any]], bytes]
    stream: str | None = None
    prepare: Callable[[Record[Any]], object] = attrgetter("json")
    tail: Callable[[Streams], Tail] | None = None
    instead: Callable[[Mapping[str, str], Streams], bytes | None] | None = None
    limit_max: int = RETAIN_MAX
    others: bool = False


@frozen
class Wish:
    """What a client wants to follow, checked: nothing about it can go wrong any more."""

    stream: Stream[Any]
    filter: filters.Filter
    after: Position | None
    limit: int | None
    encode: Encode


class Session:
    """One live client, as a sink sees it: follow streams, say something, end it."""

    __slots__ = (
        "_clock",
        "_close",
        "_streams",
        "client",
        "ended",
        "errors",
        "headers",
        "live",
        "path",
        "query",
        "tokens",
    )

    def __init__(
        self,
        live: Live,
        client: Client,
        streams: Mapping[str, Stream[Any]],
        clock: Clock,
        close: Callable[["Session", int, str], None],
        *,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
    ) -> None:
        self.live = live
        self.client = client
        self.path = path
        self.query = query
        self.headers = headers
        self.errors = 0
        self.ended: tuple[int, str] | None = None
        self.tokens: tuple[float, float] | None = None
        self._streams = streams
        self._clock = clock
        self._close = close

    @property
    def streams(self) -> list[str]:
        """The streams that clients may follow."""
        return [stream.name for stream in self._streams.values() if not stream.private]

    @property
    def follows(self) -> list[str]:
        """The streams that this client follows."""
        return list(self.client.places)

    def now_ms(self) -> int:
        """Wall time, in milliseconds since 1970."""
        return self._clock()

    def get(self, stream: str) -> Callable[[str], Any]:
        """What finds the newest value of a key in a table; BadRequest when there is no such one."""
        return visible(self._streams, stream).get

    def values(self, stream: str) -> list[Any]:
        """All that a stream retains, oldest first; BadRequest when there is no such one."""
        return [record.value for record in visible(self._streams, stream).after(0)]

    def filters(self, stream: str) -> list[str]:
        """The filters that a stream knows; BadRequest when there is no such stream."""
        return sorted(filters.names(visible(self._streams, stream).record))

    def wish(
        self,
        stream: str,
        *,
        filter: Mapping[str, object] | None = None,
        after: object = None,
        limit: object = None,
        encode: Encode | None = None,
    ) -> Wish:
        """Check what a client asks for; BadRequest names what is wrong with it."""
        found = visible(self._streams, stream)
        return Wish(
            found,
            filters.parse(found.record, filter or {}),
            position(after),
            count(limit),
            encode or self.live.encode,
        )

    def check_room(self, streams: Iterable[str]) -> None:
        """BadRequest when this client would follow too many streams with these."""
        self.client.check_room(streams)

    def follow(self, wish: Wish) -> None:
        """Follow a stream; what came before is sent first. BadRequest when this client follows too
        many.
        """
        self.client.follow(
            wish.stream,
            wish.encode,
            warn=self.live.warn,
            filter=wish.filter,
            after=wish.after,
            limit=wish.limit,
        )

    def unfollow(self, stream: str) -> None:
        """Stop following; BadRequest when the stream was not followed."""
        if not self.client.unfollow(stream):
            raise BadRequest(
                f"you do not follow {stream!r}",
                parameter="streams",
                value=stream,
                allowed=self.follows,
                code="NOT_FOLLOWED",
            )

    def say(self, payload: bytes) -> None:
        """Send one message to this client alone."""
        self.client.write(self.client.pack([payload]))

    def refuse(self, error: BadRequest) -> None:
        """Tell the client of its mistake; end the connection when there were too many."""
        self.errors += 1
        if self.live.error is not None:
            self.say(self.live.error(error))
        if self.errors > ERRORS_MAX:
            self.close(1008, "too many mistakes")

    def close(self, code: int, reason: str) -> None:
        """Say goodbye with this WebSocket close code, and end the connection."""
        self.ended = (code, reason)
        self._close(self, code, reason)


def follow_path(session: Session) -> None:
    """Follow the path's `{stream}` with the query's `after`, `limit` and filters: what `Live.open`
    is by default.
    """
    wanted = dict(session.query)
    after, limit = wanted.pop("after", None), wanted.pop("limit", None)
    session.follow(session.wish(session.path["stream"], filter=wanted, after=after, limit=limit))


def visible(streams: Mapping[str, Stream[Any]], name: str) -> Stream[Any]:
    """The stream that clients know by this name; BadRequest that lists them when there is none."""
    stream = streams.get(name) if isinstance(name, str) else None  # JSON holds what it likes
    if stream is None or stream.private:
        raise BadRequest(
            f"there is no stream {name!r:.60}",
            parameter="stream",
            value=name,
            allowed=[stream.name for stream in streams.values() if not stream.private],
            code="UNKNOWN_STREAM",
            status=404,
        )
    return stream


def position(text: object) -> Position | None:
    """The position that a client sent, None when it sent none."""
    if text is None or text == "":
        return None
    try:
        return Position.parse(str(text))
    except ValueError as error:
        raise BadRequest(
            str(error),
            parameter="after",
            value=text,
            allowed="a position as flowd gave it, or nothing for all that is retained",
        ) from None


def count(text: object, *, least: int = 0, most: int = RETAIN_MAX) -> int | None:
    """The limit that a client sent, None when it sent none."""
    if text is None:
        return None
    try:
        if isinstance(text, bool) or not isinstance(text, str | int):
            raise ValueError
        if isinstance(text, str) and not (text.isascii() and text.isdigit()):
            raise ValueError
        number = int(text)
        if not least <= number <= most:
            raise ValueError
    except ValueError:
        raise BadRequest(
            "limit must be a whole number",
            parameter="limit",
            value=text,
            allowed=f"{least} to {most}: how many of the newest records",
        ) from None
    return number
