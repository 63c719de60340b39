"""Binance USD-M futures, played on loopback: WebSocket market streams and the public REST calls."""

from flowd_simulator.binance.exchange import Addresses, Binance

__all__ = ["Addresses", "Binance"]
