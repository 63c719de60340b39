"""What exchanges say of the settings of their sources, before anything is started."""

from typing import Any

import flowd_binance
import flowd_bybit
import flowd_hyperliquid
import flowd_okx
import pytest

from flowd import testing
from flowd.setup import checks
from flowd.setup.config import parse
from flowd.testing.rest import SILENT, Reply, rest
from flowd.upstream.http import Services
from tests.plugins import okx_kit

CANDLES = '[sources.candles-5m]\nkind = "binance-candles"\ninterval = "5m"\n'
ORDERS = '[sources.orders]\nkind = "binance-force-order"\nsymbols = ["*"]\n'
REGISTRY = testing.registry(flowd_binance, flowd_bybit, flowd_hyperliquid, flowd_okx)

LISTED = {
    "symbols": [
        {"symbol": "BTCUSDT", "status": "TRADING"},
        {"symbol": "ETHUSDT", "status": "TRADING"},
        {"symbol": "LUNAUSDT", "status": "SETTLING"},
    ]
}


async def probed(text: str, answers: dict[str, Any]) -> list[str]:
    services = Services(lambda: 0, rest(answers))
    try:
        return await checks.probe(parse(text, REGISTRY), services)
    finally:
        await services.aclose()


async def test_symbols_that_binance_does_not_list_are_told(autojump_clock: object) -> None:
    text = CANDLES + 'symbols = ["BTCUSDT", "ETHUSTD", "LUNAUSDT"]\n'

    found = await probed(text, {"/fapi/v1/exchangeInfo": LISTED})

    assert found == [
        "sources.candles-5m: symbols: Binance does not list ETHUSTD among its USD-M futures. "
        'Did you mean "ETHUSDT"?',
        "sources.candles-5m: symbols: LUNAUSDT is listed and not traded now (SETTLING)",
    ]


async def test_a_source_of_streams_asks_the_rest_service_beside_them(
    autojump_clock: object,
) -> None:
    wrong = ORDERS.replace('"*"', '"BTCUSD"')
    elsewhere = wrong + 'url = "ws://127.0.0.1:4300/market"\n'

    assert len(await probed(wrong, {"/fapi/v1/exchangeInfo": LISTED})) == 1
    assert await probed(elsewhere, {"/fapi/v1/exchangeInfo": LISTED}) == []
    assert await probed(ORDERS, {"/fapi/v1/exchangeInfo": LISTED}) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (SILENT, "did not answer within 30s"),
        (OSError("no route"), "cannot be asked"),
        (Reply(451, "not here"), "HTTP 451"),
        ("<html>", "is rest_url right?"),
        ({"symbols": [1]}, "is rest_url right?"),
        ([], "is rest_url right?"),
    ],
)
async def test_an_upstream_that_cannot_be_asked_is_told(
    answer: object, told: str, autojump_clock: object
) -> None:
    (line,) = await probed(CANDLES, {"/fapi/v1/exchangeInfo": answer})

    assert line.startswith("sources.candles-5m: its upstream ")
    assert told in line


async def test_coins_that_hyperliquid_does_not_list_are_told(autojump_clock: object) -> None:
    text = (
        '[sources.traders]\nkind = "hyperliquid-discovery"\n'
        'coins = ["BTC", "SOLL", "FTT", "xyz:TSLA", "@107"]\n'
    )
    meta = {"universe": [{"name": "BTC"}, {"name": "SOL"}, {"name": "FTT", "isDelisted": True}]}

    found = await probed(text, {"/info": meta})

    assert found == [
        "sources.traders: coins: Hyperliquid does not list SOLL among its perpetuals. "
        'Did you mean "SOL"?',
        "sources.traders: coins: FTT was delisted by Hyperliquid",
    ]
    (line,) = await probed(text, {"/info": {"universe": "none"}})
    assert "is url right?" in line


BYBIT = {
    "retCode": 0,
    "result": {
        "list": [
            {"symbol": "BTCUSDT", "contractType": "LinearPerpetual", "quoteCoin": "USDT"},
            {"symbol": "ETHUSDT", "contractType": "LinearFutures", "quoteCoin": "USDT"},
        ]
    },
}
OKX = okx_kit.good(okx_kit.BTC, okx_kit.row("ETH-USDT", ctType="inverse"))


@pytest.mark.parametrize(
    ("kind", "venue", "path", "answer"),
    [
        ("bybit-liquidations", "Bybit", "/v5/market/instruments-info", BYBIT),
        ("okx-liquidations", "OKX", okx_kit.INSTRUMENTS, OKX),
    ],
)
async def test_symbols_that_another_venue_does_not_list_are_told(
    autojump_clock: object, kind: str, venue: str, path: str, answer: object
) -> None:
    text = f'[sources.s]\nkind = "{kind}"\nsymbols = '

    found = await probed(f'{text}["BTCUSDT", "ETHUSDT", "BCTUSDT"]', {path: answer})
    silent = await probed(f'{text}["BTCUSDT"]', {path: Reply(429)})

    assert found == [
        f"sources.s: symbols: {venue} does not list ETHUSDT among its linear USDT perpetuals. "
        'Did you mean "BTCUSDT"?',
        f"sources.s: symbols: {venue} does not list BCTUSDT among its linear USDT perpetuals. "
        'Did you mean "BTCUSDT"?',
    ]
    assert await probed(f'{text}["*"]', {path: SILENT}) == []
    assert "asked too much" in silent[0]
