"""Follow the streams of a flowd daemon.

    for batch in follow("http://127.0.0.1:4200", "force-orders", symbol="BTCUSDT"):
        ...

    async with connect("http://127.0.0.1:4200") as flowd:
        async for batch in flowd.follow("force-orders", after=position):
            ...

Both go on over restarts of the daemon and lost connections, from where they were: each record comes
once, and what is lost is told, as `Batch.gap` or `Batch.reset`.
"""

from flowd_client.asynchronous import AsyncFollowing, Flowd, connect
from flowd_client.blocking import Following, follow
from flowd_client.errors import BadAddress, FlowdError, Refused, Unfit
from flowd_client.values import Batch, Gap, Record, Status

__version__ = "0.1.0"

__all__ = [
    "AsyncFollowing",
    "BadAddress",
    "Batch",
    "Flowd",
    "FlowdError",
    "Following",
    "Gap",
    "Record",
    "Refused",
    "Status",
    "Unfit",
    "connect",
    "follow",
]
