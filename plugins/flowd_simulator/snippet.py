"""The lines of flowd.toml by which a daemon lives on the simulated exchanges, to be copied."""

from collections.abc import Iterable


def snippet(
    symbols: Iterable[str],
    *,
    websocket: str,
    rest: str,
    hydromancer: str,
    hyperliquid: str,
    hyperliquid_info: str,
    bybit: str,
    bybit_rest: str,
    okx: str,
    okx_rest: str,
) -> str:
    """Sources with these addresses, and what is usually made of them."""
    names = ", ".join(f'"{symbol}"' for symbol in symbols)
    return f"""\
[sources.force-orders]
kind = "binance-force-order"
symbols = ["*"]
url = "{websocket}"

[sources.bybit-liquidations]
kind = "bybit-liquidations"
symbols = ["*"]
url = "{bybit}"
rest_url = "{bybit_rest}"

[sources.okx-liquidations]
kind = "okx-liquidations"
symbols = ["*"]
url = "{okx}"
rest_url = "{okx_rest}"

[transforms.volume]
kind = "liquidation-volume"
inputs = ["force-orders", "bybit-liquidations", "okx-liquidations"]
backfill_from = "{rest}"

[sources.candles]
kind = "binance-candles"
interval = "5m"
symbols = [{names}]
url = "{websocket}"
rest_url = "{rest}"

[sources.open-interest]
kind = "binance-open-interest"
symbols = [{names}]
rest_url = "{rest}"

[sources.all-fills]
kind = "hydromancer"
subscription = "allFills"
url = "{hydromancer}"
api_key = {{ env = "HYDROMANCER_API_KEY" }}

[sources.liquidations]
kind = "hydromancer"
subscription = "liquidationFills"
url = "{hydromancer}"
api_key = {{ env = "HYDROMANCER_API_KEY" }}

[sources.traders]
kind = "hyperliquid-discovery"
coins = ["BTC", "ETH", "SOL"]
url = "{hyperliquid}"

[transforms.positions]
kind = "hyperliquid-tracking"
input = "traders"
info_url = "{hyperliquid_info}"
"""
