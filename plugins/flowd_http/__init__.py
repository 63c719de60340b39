"""A flowd sink: the newest records of any stream, for who polls."""

from attrs import frozen

from flowd.plugin import Batch, Hot, Sink, codec, hookimpl


@frozen
class Config:
    """`path` must hold `{stream}`."""

    path: str = "/streams/{stream}"


def render(batch: Batch[object]) -> bytes:
    """`{"stream", "position", "records", "gap", "reset"}`, records oldest first.

    `gap` is null, or `{"first", "last"}`: the records with these numbers and all between are not
    here.
    """
    gap = None if batch.gap is None else {"first": batch.gap.first, "last": batch.gap.last}
    return b'{"stream":%b,"position":"%b","records":[%b],"gap":%b,"reset":%b}' % (
        codec.encode(batch.stream),
        str(batch.position).encode(),
        b",".join([record.json for record in batch.records]),
        codec.encode(gap),
        codec.encode(batch.reset),
    )


def poll(config: Config) -> Hot:
    """Snapshots, and what is newer than a position."""
    return Hot(config.path, render)


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `http`."""
    return [Sink("http", Config, hot=poll)]
