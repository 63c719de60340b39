"""Bybit, played on loopback: its liquidations and what it lists, over the simulated market."""

from flowd_simulator.bybit.exchange import Bybit
from flowd_simulator.bybit.terms import Terms

__all__ = ["Bybit", "Terms"]
