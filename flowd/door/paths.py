"""Sinks that clients come to: `Live` for those who stay, `Hot` for those who poll. Only the wire
format is a plugin's.

Resume, gaps, slow clients, limits, handshakes, pings, caching and compression are the door's and
the channel's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import trio
from attrs import Factory, frozen

from flowd.channel.audience import Audience
from flowd.channel.channel import Encode, Warn
from flowd.channel.channels import Channels
from flowd.channel.client import Client
from flowd.channel.guard import SinkFailed
from flowd.door.parameters import count, position
from flowd.door.websocket import INTERNAL_ERROR, POLICY, WebSocket
from flowd.stream.held import RETAIN_MAX
from flowd.stream.inputs import Streams
from flowd.stream.log import Stream
from flowd.values import filters
from flowd.values.buckets import Bucket
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest
from flowd.values.record import Position, Record

ERRORS_MAX = 20
"""Mistakes that a WebSocket client may make in one connection before it is closed."""


@frozen
class Live:
    """A path where clients stay connected and follow streams. Only the words are the sink's.

    `path` may hold `{names}`. `encode` makes a batch into a body part (HTTP) or a list of text
    messages (WebSocket): once for all clients who follow alike, so it must be a pure function of
    the batch. With `head` it is an HTTP response without end, otherwise (`websocket=True`) a
    WebSocket. `idle` is sent to quiet HTTP clients every 15 s, `welcome` first, `goodbye` at
    shutdown. `warn` words the SLOW_CONSUMER warning: (stream, records behind) to a payload, `error`
    a BadRequest, `heartbeat` what a client hears who was sent no message for half a minute.

    `open` is called once for each client, before anything is sent, to follow streams; by default it
    follows the path's `{stream}` with the query's `after`, `limit` and filters. `receive` gets what
    a WebSocket client says. A BadRequest that these two raise is answered: as HTTP before the
    first byte, else in the words of `error`.

    All are called from the daemon's loop and must not wait. Whatever else one raises costs the
    client on whose behalf it was called (for `encode`, those who follow alike), with close code
    1011 or status 500, and is logged once a minute. Sockets, pings, resuming, slow clients and
    closing are not a sink's business.

    With an `audience`, clients and messages are counted in it, for `/status` and metrics.
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
    audience: Audience | None = None


@frozen
class Tail:
    """How the body of a poll ends at this instant. `state` is the part of it which makes the answer
    another one (it goes into the ETag): a word such as `live`.

    As an answer `instead` it is the whole body. That may be a function, which is called only for
    a client who has not got it yet.
    """

    body: bytes | Callable[[], bytes]
    state: str = ""

    def made(self) -> bytes:
        """The body."""
        return self.body if isinstance(self.body, bytes) else self.body()


Instead = bytes | Tail | None
"""What a sink answers by itself; None where it does not."""


@frozen
class Asked:
    """What a poll asks for beside its filters: a value for each of the path's options, and how many
    records at most, None for all.
    """

    options: Mapping[str, str]
    limit: int | None


@frozen
class Hot:
    """A path that many clients poll: `render` makes the body, JSON, from a stream's newest records.

    The stream is the path's `{stream}`, or `stream` if given; further names in the path are filters
    like those in the query. The door keeps the body, plain and
    gzipped, until what the stream retains changes, and answers `ETag`, 304, `after=`, `limit=` and
    the filters by itself.

    `prepare` is called for each record before `render`, with the loop let go in between: what it
    makes should be kept by whoever made it. `tail(streams, now_ms)` ends the body with what changes
    without the stream: it is made anew for every answer, at most 64 KiB of it. `instead(query,
    streams, now_ms)` may answer by itself, from the query and the path's names: bytes, or a `Tail`
    whose `state` names the body and so is its ETag. It may be async, so that who has to look at
    many records lets others run. `limit_max` is the most of `limit`, and its
    default unless `limit` says another.

    With `options`, parameters of the query and what each may be (the first where the query says
    nothing), the order is the sink's affair: `render(batch, asked)` gets all that the filters let
    pass, and an `Asked`, by whose `limit` it cuts; there is no `after`.

    With `others`, the sink's own `routes` answer the methods that are not GET. With `page`, some
    sink's `routes` answer a browser that wants a page (`Accept: text/html`), where one has this
    path.

    `tail` and `instead` may raise BadRequest, which is answered. Whatever else one of them raises
    is a 500 for who asked, and is logged once a minute.
    """

    path: str
    render: Callable[..., bytes]
    stream: str | None = None
    prepare: Callable[[Record[Any]], object] = attrgetter("json")
    tail: Callable[[Streams, int], Tail] | None = None
    instead: Callable[[Mapping[str, str], Streams, int], Instead | Awaitable[Instead]] | None = None
    limit_max: int = RETAIN_MAX
    limit: int | None = None
    options: Mapping[str, tuple[str, ...]] = Factory(dict)
    others: bool = False
    page: bool = False


@frozen
class Wish:
    """What a client wants to follow, checked: nothing about it can go wrong any more."""

    stream: Stream[Any]
    filter: filters.Filter
    after: Position | None
    limit: int | None
    encode: Encode
    every_s: float = 0.0
    name: str | None = None


class Session:
    """One live client, as its sink sees it: follow streams, say something, end it.

    A sink gets it in `open`, `receive` and `heartbeat`, and may keep it: once the client is gone,
    whatever is said here goes nowhere. Only `close` ends the connection; a sink never closes a
    socket. What those callbacks raise costs this client: a BadRequest is told to it in the sink's
    `error` words, anything else ends its connection and is logged.
    """

    __slots__ = (
        "_channels",
        "_check",
        "_clock",
        "_close",
        "_streams",
        "address",
        "client",
        "ended",
        "errors",
        "frames",
        "gone",
        "headers",
        "live",
        "parting",
        "path",
        "query",
        "spoke_at",
        "tokens",
        "websocket",
    )

    def __init__(
        self,
        live: Live,
        client: Client,
        websocket: WebSocket | None,
        channels: Channels,
        streams: Mapping[str, Stream[Any]],
        clock: Clock,
        close: Callable[["Session", int, str], None],
        *,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        address: str = "local",
        check: Callable[[str], None] = lambda stream: None,
    ) -> None:
        self.live = live
        self.client = client
        self.path = path
        self.query = query
        self.headers = headers
        # The rest is the door's: what this client says, and how it is to end.
        self.websocket = websocket
        self.address = address
        self.errors = 0
        self.ended: tuple[int, str] | None = None
        self.tokens: Bucket | None = None
        self.frames: Bucket | None = None
        self.parting = False
        self.gone: str | None = None
        self.spoke_at = trio.current_time()
        self._channels = channels
        self._streams = streams
        self._clock = clock
        self._close = close
        self._check = check

    @property
    def streams(self) -> list[str]:
        """The streams that clients may follow."""
        return [stream.name for stream in self._streams.values() if not stream.private]

    @property
    def follows(self) -> list[str]:
        """The names of what this client follows: streams, unless a wish had a `name`."""
        return list(self.client.places)

    def now_ms(self) -> int:
        """Wall time, in milliseconds since 1970."""
        return self._clock()

    def get(self, stream: str) -> Callable[[str], Any]:
        """What finds the newest value of a key in a table; BadRequest when there is no such one, or
        this client may not read it.
        """
        return self._readable(stream).get

    def values(self, stream: str) -> list[Any]:
        """All that a stream retains, oldest first; BadRequest as for `get`."""
        return [record.value for record in self._readable(stream).after(0)]

    def filters(self, stream: str) -> list[str]:
        """The filters that a stream knows; BadRequest as for `get`."""
        return sorted(filters.names(self._readable(stream).record))

    def _readable(self, stream: str) -> Stream[Any]:
        found = visible(self._streams, stream)
        self._check(found.name)
        return found

    def wish(
        self,
        stream: str,
        *,
        filter: Mapping[str, object] | None = None,
        after: object = None,
        limit: object = None,
        encode: Encode | None = None,
        every_s: float = 0.0,
        name: str | None = None,
    ) -> Wish:
        """Check what a client asks for; BadRequest names what is wrong with it.

        With `every_s`, what is new is sent at most so often, and of a table only what is newest
        then. Who shares an `encode` shares its pace, so each pace needs one of its own. With a
        `name` one stream may be followed several times, with different filters; `follow` replaces
        what has the same name.
        """
        found = self._readable(stream)
        return Wish(
            found,
            filters.parse(found.record, filter or {}),
            position(after),
            count(limit),
            encode or self.live.encode,
            every_s,
            name,
        )

    def check_room(self, streams: Iterable[str]) -> None:
        """BadRequest when this client would follow too many streams with these."""
        self.client.check_room(streams)

    def follow(self, wish: Wish) -> None:
        """Follow a stream; what came before is sent first. BadRequest when this client follows too
        many.
        """
        self._channels.follow(
            self.client,
            wish.stream,
            wish.encode,
            warn=self.live.warn,
            filter=wish.filter,
            after=wish.after,
            limit=wish.limit,
            every_s=wish.every_s,
            name=wish.name,
            audience=self.live.audience,
        )

    def unfollow(self, name: str) -> None:
        """Stop following; BadRequest when nothing of this name was followed."""
        if not self.client.unfollow(name):
            raise BadRequest(
                f"you do not follow {name!r}",
                parameter="streams",
                value=name,
                allowed=self.follows,
                code="NOT_FOLLOWED",
            )

    def say(self, payload: bytes) -> None:
        """Send one message to this client alone."""
        self.client.write(self.client.pack([payload]))

    def refuse(self, error: BadRequest) -> None:
        """Tell the client of its mistake; end the connection when there were too many, or when the
        sink has no words for it.
        """
        self.errors += 1
        if self.live.error is not None:
            guard = self._channels.guard
            try:
                self.say(guard.payload(self.live.path, "error", self.live.error, error))
            except SinkFailed:
                return self.close(INTERNAL_ERROR, "internal error")
        if self.errors > ERRORS_MAX:
            self.close(POLICY, "too many mistakes")

    def close(self, code: int, reason: str) -> None:
        """Say goodbye with this WebSocket close code, and end the connection."""
        self.ended = self.ended or (code, reason)
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
