"""What a sink may do beside reading: count, see who is an admin, have a stream's writer started
again.

What a feed is to a source or transform, the desk is to a sink. With the streams it may read
(`flowd.stream.inputs`) this is all that it sees of flowd.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from quart import request

from flowd.stream.inputs import Streams
from flowd.upstream.http import Services
from flowd.values.clock import Clock
from flowd.values.peers import Peers
from flowd.values.tally import Tally

P = ParamSpec("P")
R = TypeVar("R")

FOR_ADMINS = "flowd_for_admins"
"""The attribute by which a view that is for admins only is known."""


class Leads(Protocol):
    """The lease of a daemon that has a standby."""

    token: int

    async def reached(self) -> None:
        """Wait until the standby can know all that is known here."""
        ...


class Desk:
    """One sink's desk. There is one for all that the sink consists of: its task and its routes.

    Nothing here waits, and all of it may be called at any time, also while the sink's task does not
    run. The tally outlives the task's restarts.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        check_admin: Callable[[str], None] = lambda authorization: None,
        reconnect: Callable[[str], None] = lambda stream: None,
        services: Services | None = None,
        protected: Callable[[str], bool] = lambda stream: False,
        kinds: Mapping[str, str] | None = None,
        peers: Peers | None = None,
        lead: Leads | None = None,
    ) -> None:
        self.name = name
        """The sink's name in the configuration."""
        self.tally = Tally()
        """What the sink counts, for `/status`: `published`, and `figures` of its own by name."""
        self.http = (services or Services(clock)).http(self.tally)
        """The client for who pushes to a service: `await desk.http.post(url, content=...)`."""
        self.now_ms = clock
        """Wall time, in milliseconds since 1970."""
        self.check_admin = check_admin
        """Takes a client's `Authorization` header; BadRequest when it is not an admin's."""
        self.reconnect = reconnect
        """Start the component behind this stream again; BadRequest when there is none, or it has
        ended for good.
        """
        self.protected = protected
        """Whether clients need a token to read this stream."""
        self.kinds = kinds or {}
        """By stream: the kind of the component that writes it, here or where it comes from."""
        self.peers = peers or Peers()
        """This daemon among others, for sinks that connect them."""

        self._lead = lead
        self.fence = 0 if lead is None else lead.token
        """Of two daemons the one that leads has the larger number: what is written elsewhere may
        keep it there, and refuse who comes with a smaller one. 0 where there is no other daemon.
        """

    async def shipped(self) -> None:
        """Wait until the daemon that stands by can know all that is known here now: what is pushed
        to others before could be unknown to who leads next. At once where there is no other daemon.
        """
        if self._lead is not None:
            await self._lead.reached()

    def for_admins(self, view: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Decorates a view that only admins may call, below the blueprint's own decorator: all
        others get the BadRequest of `check_admin`. `/openapi.json` says that it needs their token.
        """

        @wraps(view)
        async def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            self.check_admin(request.headers.get("Authorization", ""))
            return await view(*args, **kwargs)

        vars(checked)[FOR_ADMINS] = True
        return checked

    def drop(self, reason: str, sample: object = None, *, count: int = 1) -> None:
        """Count, by reason, what the sink could not do. Each reason is logged at most once a
        minute, with the sample.
        """
        self.tally.drop(self.name, reason, sample, self.now_ms(), count)

    def problem(self, why: str | None) -> None:
        """Say in a sentence what is wrong though the sink runs, and what can be done; None when it
        is over. It makes it unhealthy: `/health` and `/status` tell it.
        """
        log, before = logging.getLogger(f"flowd.{self.name}"), self.tally.problem
        if why is not None and before is None:
            log.warning("%s: %s", self.name, why)
        elif why is None and before is not None:
            log.info("%s: all is well again", self.name)
        self.tally.problem = why


def bind(
    function: Callable[..., R], config: object, streams: Streams, desk: Desk
) -> Callable[[], R]:
    """A sink's `run` or `routes` with its arguments. Like a pluggy hook it takes what it needs: the
    desk is for who has a third parameter without a default, which is the function's own affair.
    """
    arguments: tuple[Any, ...] = (config, streams, desk)
    return partial(function, *arguments[: max(2, needed(function))])


def needed(function: Callable[..., Any]) -> int:
    """How many arguments a function of a plugin's asks for: parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
        for parameter in parameters
    )
