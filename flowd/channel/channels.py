"""All channels of the daemon: one for each stream, filter and wire format that somebody follows."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from attrs import asdict

from flowd.channel.audience import Audience
from flowd.channel.channel import Channel, Encode, Shared, Warn
from flowd.channel.client import PLACES_MAX, URGENT_MAX, Client, Crowd
from flowd.channel.guard import Guard
from flowd.channel.prepared import Prepared
from flowd.stream.log import Stream
from flowd.values.clock import Stopwatch, stopwatch
from flowd.values.errors import BadRequest
from flowd.values.filters import ALL, Filter
from flowd.values.limits import Limits
from flowd.values.record import Position

FILTERED_MAX = 2000
"""Channels with a filter, of all; one without can always be had."""
FILTERED_PER_ADDRESS = 200


class Channels:
    """All channels of the daemon. Runs their loops and the catch-up tasks in one nursery."""

    def __init__(
        self,
        nursery: trio.Nursery,
        limits: Limits | None = None,
        stopwatch: Stopwatch = stopwatch,
        guard: Guard | None = None,
        prepared: Prepared[Any] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.crowd = Crowd(nursery, self.limits)
        self.stopwatch = stopwatch
        self.guard = guard or Guard()
        self.prepared: Prepared[Any] = prepared or Prepared(self.limits.prepared_bytes)
        self._shared = Shared(self.crowd, self.limits, stopwatch, self.guard, self.prepared)
        self._channels: dict[tuple[str, Filter, Encode], Channel] = {}
        self._filtered: Counter[str | None] = Counter()
        """Channels with a filter, by who was the first to ask for it."""

    def __len__(self) -> int:
        return len(self._channels)

    async def all_level(self) -> None:
        """Wait until no client is behind and no channel has anything left to pass on."""
        channels = self._channels
        while True:
            await self.crowd.all_level()
            if not any(c.passing or c.seq < c.stream.seq for c in channels.values()):
                return
            await trio.sleep(0.001)  # Who has something to pass on never waits long.

    def follow(
        self,
        client: Client,
        stream: Stream[Any],
        encode: Encode,
        *,
        warn: Warn | None = None,
        filter: Filter = ALL,
        after: Position | None = None,
        limit: int | None = None,
        name: str | None = None,
        every_s: float = 0.0,
        audience: Audience | None = None,
    ) -> None:
        """Let a client follow a stream from a position, or from a snapshot of its newest `limit`;
        instead of what it followed before under this `name`, the stream's by default. What is new
        is passed on at most `every_s` so often, and counted in `audience`: of those who share
        `encode` these are the same. BadRequest when it or the daemon has no room for more.
        """
        if client.gone:
            return
        name = name or stream.name
        client.check_room([name])
        made = partial(Channel, every_s=every_s, audience=audience)
        channel = self._open(stream, filter, encode, warn, client.counts_for, made)
        client.take(channel.join(client, after, limit, name))

    def discard(self, channel: Channel) -> None:
        """Forget a channel that nobody follows any more."""
        del self._channels[channel.stream.name, channel.filter, channel.encode]
        if channel.filter:
            self._filtered[channel.asked_by] -= 1
            self._filtered += Counter()  # which forgets those at zero

    def _open(
        self,
        stream: Stream[Any],
        filter: Filter,
        encode: Encode,
        warn: Warn | None,
        asked_by: str | None,
        made: Callable[..., Channel],
    ) -> Channel:
        """The channel of this stream, filter and wire format; made when nobody has asked for it
        before.
        """
        key = (stream.name, filter, encode)
        channel = self._channels.get(key)
        if channel is None:
            if filter:
                self._check_filters(filter, asked_by)
                self._filtered[asked_by] += 1
            channel = self._channels[key] = made(
                self._shared, self.discard, stream, filter, encode, warn, asked_by
            )
            name = f"channel {stream.name} {filter}"
            self.crowd.nursery.start_soon(channel.run, name=name)
        return channel

    def _check_filters(self, filter: Filter, asked_by: str | None) -> None:
        """BadRequest when nobody, or not this address, may have one more filter of its own."""
        here = 0 if asked_by is None else self._filtered[asked_by]
        if here >= FILTERED_PER_ADDRESS or self._filtered.total() >= FILTERED_MAX:
            raise BadRequest(
                "too many different filters are in use at the moment",
                parameter="filter",
                value=str(filter),
                allowed="a filter that others use, or none; or try again later",
                code="TOO_MANY_FILTERS",
                status=503,
            )

    def figures(self) -> dict[str, Any]:
        """What there is now, and was so far, for `/status`."""
        return {
            "behind": len(self.crowd.behind),
            "channels": len(self),
            **asdict(self.crowd.counts),
        }

    def bounds(self) -> dict[str, Any]:
        """The limits that something can run into here, for `/status`."""
        return {
            "slow_consumer_timeout_s": self.limits.slow_consumer_timeout_s,
            "slow_consumer_limit_s": self.limits.slow_consumer_limit_s,
            "filters": FILTERED_MAX,
            "filters_per_address": FILTERED_PER_ADDRESS,
            "streams_per_connection": PLACES_MAX,
            "unread_answers_bytes": URGENT_MAX,
        }
