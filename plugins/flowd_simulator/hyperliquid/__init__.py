"""Hyperliquid, played on loopback: its WebSocket and its `/info`, over the simulated chain."""

from flowd_simulator.door import Answer
from flowd_simulator.hyperliquid.exchange import Hyperliquid
from flowd_simulator.hyperliquid.terms import (
    BAD_GATEWAY,
    NOT_UNDERSTOOD,
    TOO_MUCH,
    Addresses,
    Terms,
)

__all__ = [
    "BAD_GATEWAY",
    "NOT_UNDERSTOOD",
    "TOO_MUCH",
    "Addresses",
    "Answer",
    "Hyperliquid",
    "Terms",
]
