"""The lease of a pair in a real Redis, as far as a ledger in memory cannot tell it."""

from pathlib import Path

import pytest
from flowd_redis.ledger import Config, open_ledger

from flowd.pair.ledger import Claim, Follower
from flowd.plugin import Seconds, UpstreamError
from flowd.stream.handover import Known
from tests.edge.redis import RedisServer

ONE = Follower("one", Known("life", 7, led=True))
"""Who has led, and so knows all that an empty ledger had."""


async def test_who_asks_for_the_first_time_has_the_lease(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()
        async with open_ledger(Config(server.url)) as ledger:
            taken = await ledger.take(ONE, Claim.KNOWING)
            again = await ledger.take(ONE, Claim.KNOWING)

    assert taken.token is not None
    assert (again.token, again.leader) == (None, "one")


async def test_a_question_that_redis_answers_when_nobody_waits_takes_no_lease(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()
        async with open_ledger(Config(server.url, timeout=Seconds(0.2))) as ledger:
            await ledger.take(ONE, Claim.NONE)
            server.pause()
            with pytest.raises(UpstreamError, match="does not answer"):
                await ledger.take(ONE, Claim.KNOWING)
            server.wake()

            found = await ledger.take(ONE, Claim.NONE)
            taken = await ledger.take(ONE, Claim.KNOWING)

    assert found.leader is None, "nobody would have known that it leads"
    assert taken.token is not None
