"""A flowd sink: any stream as Server-Sent Events, for `EventSource` and `curl -N`.

Each record is an event whose `id:` is its position, so that a client who comes back with
`Last-Event-ID` goes on where it was.
"""

from attrs import frozen

from flowd.plugin import Batch, Live, Position, Seconds, Session, Sink, codec, follow_path, hookimpl

FOREIGN = "0.0"
"""A position that no stream gave: epochs are longer."""

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Vary: Accept-Encoding\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"Connection: close\r\n\r\n"
)


@frozen
class Config:
    """`path` must hold `{stream}`; `retry` is how long a browser waits before it comes back."""

    path: str = "/sse/{stream}"
    retry: Seconds = Seconds(2.0)


def events(batch: Batch[object]) -> bytes:
    """A batch as events: `reset` and `gap` by name, then records as plain messages.

    The last id is the batch's position, also when a filter hid the newest records: an id without
    data moves the client's place and raises no event.
    """
    position = str(batch.position).encode()
    epoch = batch.position.epoch.encode()
    parts: list[bytes] = []
    if batch.reset:
        parts.append(b'event: reset\ndata: {"position":"%b"}\n\n' % position)
    if batch.gap is not None:
        parts.append(
            b'event: gap\nid: %b.%d\ndata: {"first":%d,"last":%d}\n\n'
            % (epoch, batch.gap.last, batch.gap.first, batch.gap.last)
        )
    parts += [
        b"id: %b.%d\ndata: %b\n\n" % (epoch, record.seq, record.json) for record in batch.records
    ]
    if not batch.records or batch.records[-1].seq != batch.position.seq:
        parts.append(b"id: %b\n\n" % position)
    return b"".join(parts)


def slow(stream: str, behind: int) -> bytes:
    """The warning for who was stalled."""
    data = {"code": "SLOW_CONSUMER", "stream": stream, "behind": behind}
    return b"event: warning\ndata: %b\n\n" % codec.encode(data)


def follow(session: Session) -> None:
    """A browser that comes back says where it was by `Last-Event-ID`, which beats the address.

    An id that is none of ours is of another service that was at this address: its reader gets a
    `reset`. A refusal would be final, for `EventSource` does not come back then.
    """
    last = session.headers.get("last-event-id")
    if last:
        session.query["after"] = last if is_position(last) else FOREIGN
        session.query.pop("limit", None)
    follow_path(session)


def is_position(text: str) -> bool:
    """Whether a stream may have given this as a position."""
    try:
        Position.parse(text)
    except ValueError:
        return False
    return True


def sse(config: Config) -> Live:
    """Streams as `text/event-stream`."""
    retry_ms = round(config.retry * 1000)
    return Live(
        config.path,
        events,
        head=HEAD,
        idle=b": still here\n\n",
        # No event of its own: some clients would take it for one without data.
        welcome=b"retry: %d\n" % retry_ms,
        goodbye=b'event: goodbye\nretry: %d\ndata: {"reason":"the daemon is stopping"}\n\n'
        % retry_ms,
        gzip=True,
        warn=slow,
        open=follow,
    )


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `sse`."""
    return [Sink("sse", Config, live=sse)]
