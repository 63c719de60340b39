"""Several streams that one reader reads as one: waited for together, and each record once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio

from flowd.stream.inputs import Input


async def news_of(inputs: Sequence[Input[Any]], seqs: Sequence[int]) -> bool:
    """Wait until one of these has something after its seq; False when all were closed and none
    has.
    """
    if len(inputs) == 1:
        return await inputs[0].news(seqs[0])
    async with trio.open_nursery() as nursery:

        async def look(one: Input[Any], seq: int) -> None:
            if await one.news(seq):
                nursery.cancel_scope.cancel()

        for one, seq in zip(inputs, seqs, strict=True):
            nursery.start_soon(look, one, seq)
    return any(one.head.seq > seq for one, seq in zip(inputs, seqs, strict=True))


class Once:
    """Which ids were seen lately, in any of several streams. An id names its record for ever,
    whoever tells it; each stream knows its own newest, and here is what several have in common.
    """

    REMEMBERED = 20_000
    """So many of each stream."""

    def __init__(self) -> None:
        self._seen: list[dict[str, None]] = []

    def of(self, told: Iterable[str] = ()) -> Callable[[str], bool]:
        """For one more stream, of which these ids were seen, the newest last: whether an id is
        news, which from then on it is no more.
        """
        own, seen = dict.fromkeys(told), self._seen
        seen.append(own)

        def news(id: str) -> bool:
            for ids in seen:
                if id in ids:
                    return False
            own[id] = None
            if len(own) > self.REMEMBERED:
                del own[next(iter(own))]
            return True

        return news
