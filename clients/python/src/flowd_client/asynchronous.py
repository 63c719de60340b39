"""Following under Trio or asyncio."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, Self, overload

import anyio
import httpx2

from flowd_client.events import Garbled
from flowd_client.http import BODY_MAX, BROKEN, LIMITS, SILENCE_S, asked, timeout, why
from flowd_client.reader import Reader
from flowd_client.values import Batch, Status, T
from flowd_client.wish import Filter, Wish, address

CLOSE_WITHIN_S = 1.0


class AsyncFollowing(Generic[T]):
    """A stream, as batches without an end, for one task at a time.

    It reads when it is asked to, and holds no more than one read: who is slow is slow. A wait that
    is cancelled closes the connection, and the next one goes on from the same position; so does
    `aclose`. What is still open when the `connect` block ends is closed there.
    """

    def __init__(self, http: httpx2.AsyncClient, reader: Reader[T]) -> None:
        self._http = http
        self._reader = reader
        self._answer: httpx2.Response | None = None
        self._data: AsyncGenerator[bytes, None] | None = None
        self._one_task = anyio.ResourceGuard("following this stream")

    @property
    def position(self) -> str | None:
        """Up to here all was handed out: give it as `after` to go on from here."""
        return self._reader.position

    @property
    def status(self) -> Status:
        """How it stands with the connection, as of the last time that somebody read."""
        return self._reader.status

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch[T]:
        """Refused when the daemon does not give this, BadAddress when it is no daemon, Unfit when a
        value is not what it should be `of`. All else is waited out.
        """
        with self._one_task:
            try:
                while (batch := self._reader.take()) is None:
                    await self._read()
            except BaseException:
                await self.aclose()
                raise
            return batch

    async def aclose(self) -> None:
        """Close the connection, if there is one. Waits for a second at most."""
        await self._close()
        self._reader.left()

    async def _read(self) -> None:
        try:
            if self._data is None:
                await anyio.sleep(self._reader.pause_s())
                await self._open()
            else:
                self._reader.heard(await anext(self._data))
        except StopAsyncIteration:
            await self._lose("the connection ended")
        except (*BROKEN, Garbled) as error:
            await self._lose(why(error))

    async def _open(self) -> None:
        request = self._http.build_request("GET", **asked(self._reader))
        answer = self._answer = await self._http.send(request, stream=True)
        self._data = answer.aiter_raw()
        if answer.status_code == 200:
            self._reader.opened(answer.headers)
        else:
            said = b""
            while len(said) < BODY_MAX and (part := await anext(self._data, b"")):
                said += part
            await self._close()
            self._reader.refused(answer.status_code, answer.headers, said)

    async def _lose(self, reason: str) -> None:
        await self._close()
        self._reader.lost(reason)

    async def _close(self) -> None:
        answer, data = self._answer, self._data
        self._answer = self._data = None
        if data is not None:
            await _end(data)
        if answer is not None:
            with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await answer.aclose()


async def _end(data: AsyncGenerator[bytes, None]) -> None:
    """End a body that is not read to its end. httpx2 makes it of generators within generators, and
    closing the outermost leaves the others to the collector; a cancelled read ends them all.
    """
    with anyio.CancelScope(shield=True) as scope, suppress(*BROKEN):
        scope.cancel()
        async for _ in data:
            pass


class Flowd:
    """A daemon. `connect` makes one, and closes what is followed when its block ends."""

    def __init__(self, http: httpx2.AsyncClient, url: str, token: str | None) -> None:
        self._http = http
        self._url = url
        self._token = token
        self._followings: list[AsyncFollowing[Any]] = []

    @overload
    def follow(
        self,
        stream: str,
        *,
        of: type[T],
        after: str | None = None,
        limit: int | None = None,
        on_status: Callable[[Status], object] | None = None,
        **filters: Filter,
    ) -> AsyncFollowing[T]: ...

    @overload
    def follow(
        self,
        stream: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        on_status: Callable[[Status], object] | None = None,
        **filters: Filter,
    ) -> AsyncFollowing[Any]: ...

    def follow(
        self,
        stream: str,
        *,
        of: Any = Any,
        after: str | None = None,
        limit: int | None = None,
        on_status: Callable[[Status], object] | None = None,
        **filters: Filter,
    ) -> AsyncFollowing[Any]:
        """Follow a stream from the position `after`, or from the beginning of what is retained, or
        from its newest `limit` records. Nothing is asked before somebody waits for a batch.

        Values are what JSON has, or `of` a type: a dataclass, attrs class, TypedDict or
        msgspec.Struct. `on_status` is called with each change of the status, while somebody waits.
        """
        wish = Wish(self._url, stream, filters, after=after, limit=limit, token=self._token)
        following = AsyncFollowing[Any](self._http, Reader(wish, of, on_status))
        self._followings.append(following)
        return following

    async def aclose(self) -> None:
        """Close all that is followed."""
        for following in self._followings:
            await following.aclose()


@asynccontextmanager
async def connect(
    url: str, *, token: str | None = None, silence_s: float = SILENCE_S
) -> AsyncGenerator[Flowd, None]:
    """The daemon at `url`, read with `token` where its streams are locked. Nothing is asked before
    a stream is followed: the daemon may come later.
    """
    address(url)
    async with httpx2.AsyncClient(timeout=timeout(silence_s), limits=LIMITS) as http:
        flowd = Flowd(http, url, token)
        try:
            yield flowd
        finally:
            await flowd.aclose()
