"""A flowd source: the streams of another daemon, followed through Redis, with the numbers, times
and JSON that they have there.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import trio
from attrs import field, frozen

from flowd.plugin import Feed, Mirrored, Seconds, Secret, UpstreamError, suggestion
from flowd_redis.beats import Beats
from flowd_redis.copying import Anew, Unreadable
from flowd_redis.following import Follower
from flowd_redis.ingest import EDGE
from flowd_redis.layout import Keys, Meta, mirrored
from flowd_redis.reading import RedisReader
from flowd_redis.server import Login, check, check_prefix, dialled

RETRY_S, RETRY_MAX_S = 0.5, 5.0
"""How soon Redis is dialled again, and again."""
NAMED_MAX = 20


@frozen
class Config:
    """`url`, `prefix`, `username`, `password` and `ca` are as the sink of the ingest daemon has
    them. `streams` are those that are followed: names, or patterns with `*`.
    """

    url: str | Secret
    streams: list[str] = field(factory=lambda: ["*"])
    prefix: str = "flowd"
    username: str | None = None
    password: Secret | None = None
    ca: str | None = None
    timeout: Seconds = Seconds(5.0)

    def __attrs_post_init__(self) -> None:
        check(self.url)
        check_prefix(self.prefix)
        if not self.streams:
            raise ValueError('streams = []: name at least one, or "*" for all')
        if self.timeout < 0.1:
            raise ValueError('timeout: expected "100ms" or more')

    @property
    def login(self) -> Login:
        """How the server is reached."""
        return Login(self.url, self.username, self.password, self.ca, self.timeout)

    def chosen(self, names: set[str]) -> set[str]:
        """Which of these streams are followed."""
        wanted = self.streams
        return {name for name in names if any(fnmatchcase(name, one) for one in wanted)}


async def discover(config: Config) -> Mapping[str, Mirrored]:
    """The streams that are followed, as their daemon has them. UpstreamError where Redis does not
    answer, or has not all of them.
    """
    try:
        return await _discover(config)
    except ExceptionGroup as group:
        raise _of(group) from None


async def _discover(config: Config) -> Mapping[str, Mirrored]:
    async with dialled(config.login) as server:
        reader = RedisReader(server, Keys(config.prefix))
        names = await reader.names()
        metas = await reader.metas(sorted(config.chosen(names)))
    found = {name: mirrored(meta) for name, meta in metas.items() if isinstance(meta, Meta)}
    unreadable = {name: one for name, one in metas.items() if isinstance(one, Unreadable)}
    for name in config.streams:
        if name in unreadable:
            raise unreadable[name]
        if "*" not in name and name not in found:
            raise UpstreamError(
                f"{server.where} has no stream {name!r}{suggestion(name, sorted(names))}"
            )
    if names and not config.chosen(names):
        there = ", ".join(sorted(names)[:NAMED_MAX])
        raise UpstreamError(
            f"{server.where} has no stream like {config.streams}; there are: {there}"
        )
    if not found and unreadable:
        raise unreadable[min(unreadable)]
    if not found:
        raise UpstreamError(
            f"{server.where} has no streams yet: does another daemon have a sink of kind redis "
            f'there, with prefix = "{config.prefix}"?'
        )
    return found


async def follow(config: Config, feed: Feed[Any]) -> None:
    """Follow until Redis fails: then UpstreamError, and an outage begins. Until it is reached, it
    is tried again and again.
    """
    wait_s = RETRY_S
    feed.peers.tell(feed.name, EDGE)
    while True:
        reached = False
        try:
            async with dialled(config.login) as server:
                keys = Keys(config.prefix)
                reader = RedisReader(server, keys)
                await reader.names()
                reached = True
                feed.problem(None)
                beats = Beats(feed.name, feed.peers, feed.clock, server, keys)
                async with beats.until_the_end(config.login):
                    await Follower(reader, feed, beats, config.chosen, server.where).run()
        except Exception as group:
            error = _of(group)
        if isinstance(error, Anew):
            await feed.start_over(str(error))
        if reached or not isinstance(error, UpstreamError):
            raise error
        feed.problem(str(error))
        await trio.sleep(wait_s)
        wait_s = min(2 * wait_s, RETRY_MAX_S)


def _of(error: Exception) -> Exception:
    """What went wrong: of several tasks that failed together, the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
