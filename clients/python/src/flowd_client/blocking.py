"""Following as a plain loop."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, overload

import httpx2

from flowd_client.events import Garbled
from flowd_client.http import BODY_MAX, BROKEN, LIMITS, SILENCE_S, asked, timeout, why
from flowd_client.reader import Reader
from flowd_client.values import Batch, Status, T
from flowd_client.wish import Filter, Wish


class Following(Generic[T]):
    """A stream, as batches without an end. A loop over it that ends closes the connection; the next
    loop goes on where that one was.
    """

    def __init__(self, reader: Reader[T], silence_s: float) -> None:
        self._reader = reader
        self._silence_s = silence_s

    @property
    def position(self) -> str | None:
        """Up to here all was handed out: give it as `after` to go on from here."""
        return self._reader.position

    @property
    def status(self) -> Status:
        """How it stands with the connection, as of the last time that somebody read."""
        return self._reader.status

    def __iter__(self) -> Iterator[Batch[T]]:
        """Refused when the daemon does not give this, BadAddress when it is no daemon, Unfit when a
        value is not what it should be `of`. All else is waited out.
        """
        reader = self._reader
        with httpx2.Client(timeout=timeout(self._silence_s), limits=LIMITS) as http:
            try:
                while True:
                    time.sleep(reader.pause_s())
                    yield from self._connection(http)
            finally:
                reader.left()

    def _connection(self, http: httpx2.Client) -> Iterator[Batch[T]]:
        """All that comes until the connection is lost."""
        reader = self._reader
        try:
            with http.stream("GET", **asked(reader)) as answer:
                if answer.status_code != 200:
                    said = _read(answer)
                    reader.refused(answer.status_code, answer.headers, said)
                    return
                reader.opened(answer.headers)
                for data in answer.iter_raw():
                    try:
                        reader.heard(data)
                    finally:
                        while (batch := reader.take()) is not None:
                            yield batch
            reader.lost("the connection ended")
        except (*BROKEN, Garbled) as error:
            reader.lost(why(error))


def _read(answer: httpx2.Response) -> bytes:
    body = b""
    for data in answer.iter_raw():
        body += data
        if len(body) > BODY_MAX:
            break
    return body


@overload
def follow(
    url: str,
    stream: str,
    *,
    of: type[T],
    after: str | None = None,
    limit: int | None = None,
    token: str | None = None,
    on_status: Callable[[Status], object] | None = None,
    silence_s: float = SILENCE_S,
    **filters: Filter,
) -> Following[T]: ...


@overload
def follow(
    url: str,
    stream: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    token: str | None = None,
    on_status: Callable[[Status], object] | None = None,
    silence_s: float = SILENCE_S,
    **filters: Filter,
) -> Following[Any]: ...


def follow(
    url: str,
    stream: str,
    *,
    of: Any = Any,
    after: str | None = None,
    limit: int | None = None,
    token: str | None = None,
    on_status: Callable[[Status], object] | None = None,
    silence_s: float = SILENCE_S,
    **filters: Filter,
) -> Following[Any]:
    """Follow a stream of the daemon at `url`, from the position `after`, or from the beginning of
    what is retained, or from its newest `limit` records.

    Values are what JSON has, or `of` a type: a dataclass, attrs class, TypedDict or msgspec.Struct.
    `on_status` is called with each change of the status, also while the loop waits.
    """
    wish = Wish(url, stream, filters, after=after, limit=limit, token=token)
    return Following(Reader(wish, of, on_status), silence_s)
