"""Hyperliquid, played on loopback: its WebSocket and its `/info`, over the simulated chain."""

from flowd_simulator.hyperliquid.exchange import Addresses, Hyperliquid
from flowd_simulator.hyperliquid.terms import Answer, Terms

__all__ = ["Addresses", "Answer", "Hyperliquid", "Terms"]
