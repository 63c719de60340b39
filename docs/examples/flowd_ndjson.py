"""Any stream as lines of JSON, for `curl -N` and `jq`: a flowd sink where clients stay."""

from attrs import frozen

from flowd.plugin import Batch, Live, Sink, hookimpl

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


@frozen
class Config:
    """Streams are found below `path`."""

    path: str = "/ndjson"


def lines(batch: Batch[object]) -> bytes:
    """One line per record."""
    return b"".join(record.json + b"\n" for record in batch.records)


def ndjson(config: Config) -> Live:
    """A response without end; a quiet one gets an empty line now and then."""
    return Live(config.path + "/{stream}", encode=lines, head=HEAD, idle=b"\n")


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `ndjson`."""
    return [Sink("ndjson", Config, live=ndjson)]
