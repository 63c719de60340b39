"""Programs that others wrote for Binance, unchanged but for addresses, at the simulated one.

Each runs as a process of its own, from a folder of its own, since they do not all install together:
`make` puts them there. What each does is in `clients/`; it writes what it found as a line of JSON.
"""

import json
import os
import ssl
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
import trustme
from flowd_simulator.binance import Addresses, Binance
from flowd_simulator.web import certified

from tests.needed import lacking

pytestmark = pytest.mark.edge
STAMPS = Path(__file__).parents[2] / ".stamps/clients"
SCRIPTS = Path(__file__).parent / "clients"
PATIENCE_S = 150.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def clock() -> int:
    return 1_790_000_000_000 + time.monotonic_ns() // 1_000_000


def ask(script: str, package: str, at: Addresses, trusting: Path | None) -> Any:
    """Run one client against these addresses; what it found."""
    folder = STAMPS / package
    if not (folder / "stamp").exists():
        lacking(f"{package} is not installed; `make edge` puts it into {folder}")
    trust = (
        {}
        if trusting is None
        else {name: str(trusting) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    )
    # One of them writes a log of its own where it is started.
    with TemporaryDirectory() as place:
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / script), at.websocket, at.rest],
            cwd=place,
            env={**os.environ, **trust, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def answer(script: str, package: str, *, tls: Path | None = None) -> Any:
    """What a client finds at a lively exchange, played for it alone."""
    exchange = Binance(7, clock, SYMBOLS, rate=1200)
    secure: ssl.SSLContext | None = None
    trusting: Path | None = None
    if tls is not None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        chain, key, trusting = tls / "chain.pem", tls / "key.pem", tls / "authority.pem"
        for pem in issued.cert_chain_pems:
            pem.write_to_path(chain, append=True)
        issued.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(trusting)
        secure = certified(chain, key)
    async with trio.open_nursery() as nursery:
        at: Addresses = await nursery.start(partial(exchange.serve, tls=secure))
        found = await trio.to_thread.run_sync(ask, script, package, at, trusting)
        nursery.cancel_scope.cancel()
    return found


async def test_ccxt_loads_markets_and_watches_trades_candles_and_liquidations() -> None:
    found = await answer("ccxt_pro.py", "ccxt")

    assert (found["market"], found["tick"], found["candles"]) == ("USDT", 0.1, 500)
    prices = [found[name] for name in ("last", "trade", "candle")]
    assert max(prices) < 1.05 * min(prices)
    assert found["liquidation"]


async def test_python_binance_hears_contracts_and_all_mark_prices() -> None:
    found = await answer("python_binance.py", "python-binance")

    assert (found["symbols"], found["months"], found["days"]) == (3, 100, 500)
    assert found["open interest"] == 30
    assert found["candle"]["e"] == "continuous_kline"
    assert [each["s"] for each in found["marks"]["data"]] == list(SYMBOLS)
    assert found["trade"]["data"]["e"] == "aggTrade"


async def test_the_futures_connector_asks_and_follows() -> None:
    found = await answer("futures_connector.py", "binance-futures-connector")

    assert abs(found["time"] - clock()) < PATIENCE_S * 1000
    assert (found["candles"], found["prices"]) == (1500, 3)
    mark = float(found["events"]["markPriceUpdate"]["p"])
    assert float(found["premium"]) == pytest.approx(mark, rel=0.05)
    assert float(found["day"]) == pytest.approx(mark, rel=0.2)
    assert found["events"]["continuous_kline"]["ps"] == "BTCUSDT"


async def test_the_exchanges_own_sdk_opens_all_its_paths_and_hears() -> None:
    found = await answer("official_sdk.py", "binance-sdk-derivatives-trading-usds-futures")

    assert (found["symbols"], found["candles"]) == (3, 500)
    assert set(found["heard"]) == {"0", "1", "2", "3"}
    assert "aggTrade" in found["heard"]["0"]
    assert "forceOrder" in found["heard"]["3"]


async def test_cryptofeed_dials_over_tls_and_reads_every_channel(tmp_path: Path) -> None:
    found = await answer("cryptofeed_client.py", "cryptofeed", tls=tmp_path)

    assert found["symbols"] == 3
    assert set(found["heard"]) == {
        "trades", "candles", "funding", "liquidations", "open_interest"
    }  # fmt: skip


async def test_unicorn_hears_single_streams_and_those_of_all_symbols() -> None:
    found = await answer("unicorn.py", "unicorn-binance-websocket-api")

    single = {f"{symbol}@{kind}" for symbol in ("btcusdt", "ethusdt")
              for kind in ("aggTrade", "kline_1m")}  # fmt: skip
    assert set(found) == {*single, "forceOrder", "mark prices"}
    assert [each["s"] for each in found["mark prices"]] == list(SYMBOLS)
