"""The test kit, for plugins and for flowd itself: scripted upstreams, a daemon in memory, and
clients of every temper.

Everything here runs without network, disk or threads, so that it is at home under Trio's mock
clock; the codecs are the real ones. A source is tested like this:

    feed = testing.feed(testing.says('{"event": "subscribed"}', TRADE))
    nursery.start_soon(my_plugin.trades, my_plugin.Config(), feed)
    await wait_all_tasks_blocked()
    assert feed.stream.cursor().read().records[0].value == ...
"""

from flowd.stream.volatile import MemoryStore
from flowd.testing.clients import Client, FakeSocket
from flowd.testing.components import (
    EPOCH,
    START_MS,
    ScriptedFeed,
    clock,
    desk,
    feed,
    registry,
    stream,
    streams,
)
from flowd.testing.daemons import Answer, Daemon, daemon
from flowd.testing.rest import SILENT, Reply, Request, Rest, rest, turns
from flowd.testing.scripts import (
    Connection,
    Script,
    ScriptedUpstream,
    answers,
    closes,
    drops,
    falls_silent,
    hangs,
    hears,
    plays,
    refuses,
    says,
    sends_garbage,
    unreachable,
    upstream,
    waits,
)

__all__ = [
    "EPOCH",
    "SILENT",
    "START_MS",
    "Answer",
    "Client",
    "Connection",
    "Daemon",
    "FakeSocket",
    "MemoryStore",
    "Reply",
    "Request",
    "Rest",
    "Script",
    "ScriptedFeed",
    "ScriptedUpstream",
    "answers",
    "clock",
    "closes",
    "daemon",
    "desk",
    "drops",
    "falls_silent",
    "feed",
    "hangs",
    "hears",
    "plays",
    "refuses",
    "registry",
    "rest",
    "says",
    "sends_garbage",
    "stream",
    "streams",
    "turns",
    "unreachable",
    "upstream",
    "waits",
]
