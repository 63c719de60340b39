"""A Redis for the processes of one machine: what they are told to reach it, and how one is started
that is nobody else's.
"""

import shutil
from pathlib import Path

from flowd.plugin import Beside, StreamName, UserError
from flowd_redis import sink, source

PROGRAMS = ("redis-server", "valkey-server")
MEMORY_MAX = "512mb"
"""Of a server of our own. It holds what streams retain, about as large as in the daemon itself."""


def follow(settings: sink.Config, streams: list[str]) -> source.Config:
    """What a source is told that follows these streams of such a sink."""
    return source.Config(
        settings.url,
        streams,
        settings.prefix,
        settings.username,
        settings.password,
        settings.ca,
        settings.timeout,
    )


def own(path: Path) -> sink.Config:
    """What the sink is told that writes to the server at this socket."""
    return sink.Config(f"unix://{path}", [StreamName("*")])


def server(path: Path) -> list[str]:
    """The command of a server at this socket, which its folder's owner alone may reach. It has no
    port and keeps nothing, and when its memory is full it says so instead of evicting.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise UserError(
            f"neither {PROGRAMS[0]} nor {PROGRAMS[1]} is installed here, over which processes "
            "follow each other: apt install redis-server, or configure a sink of kind redis with "
            "a server that runs already"
        )
    return [
        *(program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--dir", str(path.parent), "--save", "", "--appendonly", "no"),
        *("--maxmemory", MEMORY_MAX, "--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning", "--daemonize", "no"),
    ]


BESIDE = Beside("redis", follow, own, server)
