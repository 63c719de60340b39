"""Hyperliquid's own SDK, unchanged, as a client of the simulated exchange, over real sockets."""

import time
from typing import Any

import pytest
import trio
from flowd_simulator.chain.live import Chain
from flowd_simulator.faults import InfoFault
from flowd_simulator.hyperliquid import Addresses, Hyperliquid, Terms
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError, ServerError

pytestmark = pytest.mark.edge
SETTLE_S = 30.0


def clock() -> int:
    return 1_790_000_000_000 + time.monotonic_ns() // 1_000_000


def use(base: str, user: str) -> dict[str, Any]:
    """All that is asked of the SDK, in a thread of its own."""
    heard: list[Any] = []
    info = Info(base)
    try:
        info.subscribe({"type": "trades", "coin": "BTC"}, heard.append)
        found = {
            "meta": info.meta(),
            "mids": info.all_mids(),
            "state": info.user_state(user),
            "fills": info.user_fills(user),
            "by time": info.user_fills_by_time(user, 0),
            "portfolio": info.portfolio(user),
        }
        deadline = time.monotonic() + SETTLE_S
        while len(heard) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        return {**found, "heard": list(heard)}
    finally:
        info.disconnect_websocket()
        info.session.close()


async def test_the_exchanges_own_sdk_works_with_it_unchanged() -> None:
    chain = Chain(7, clock, fills_per_s=200)
    exchange = Hyperliquid(7, clock, chain=chain)
    chain.tape.begin(clock())
    account = next(
        one
        for one in chain.tape.accounts.known.values()
        if not one.maker and any(not coin.dex for coin, _ in one.open())
    )

    async with trio.open_nursery() as nursery:
        at: Addresses = await nursery.start(exchange.serve)
        nursery.start_soon(chain.run)
        found = await trio.to_thread.run_sync(use, at.base, account.address)
        nursery.cancel_scope.cancel()

    names = [one["name"] for one in found["meta"]["universe"]]
    assert "BTC" in names
    assert set(names) - {"MATIC"} <= set(found["mids"])
    assert found["state"]["assetPositions"]
    assert float(found["state"]["marginSummary"]["accountValue"])
    assert found["fills"]
    assert {one["tid"] for one in found["fills"]} <= {one["tid"] for one in found["by time"]}
    assert dict(found["portfolio"])["allTime"]["accountValueHistory"]
    first, *later = found["heard"]
    assert len(first["data"]) == 30
    assert later
    assert all(len(trade["users"]) == 2 for told in later for trade in told["data"])


def refused(base: str) -> list[Exception]:
    """What the SDK raises once the weight is used up, and then for the front server's HTML."""
    errors: list[Exception] = []
    info = Info(base, skip_ws=True)
    try:
        for _ in range(2):
            try:
                while True:
                    info.all_mids()
            except (ClientError, ServerError) as error:
                errors.append(error)
    finally:
        info.session.close()
    return errors


async def test_the_sdk_understands_how_the_exchange_refuses() -> None:
    exchange = Hyperliquid(7, clock, terms=Terms(weight_per_min=100))

    async with trio.open_nursery() as nursery:
        at: Addresses = await nursery.start(exchange.serve)
        limited = (await trio.to_thread.run_sync(refused, at.base))[0]
        exchange.weights.clear()
        exchange.faults.info = InfoFault.bad_gateway
        with pytest.raises(ServerError) as failed:
            await trio.to_thread.run_sync(refused_at_once, at.base)
        nursery.cancel_scope.cancel()

    assert isinstance(limited, ClientError)
    assert limited.status_code == 429
    assert failed.value.status_code == 502


def refused_at_once(base: str) -> None:
    Info(base, skip_ws=True)
