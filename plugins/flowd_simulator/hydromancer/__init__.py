"""Hydromancer, played on loopback: the WebSocket feeds of all fills and of liquidations."""

from flowd_simulator.hydromancer.exchange import Hydromancer
from flowd_simulator.hydromancer.terms import DEMO_KEY, Terms

__all__ = ["DEMO_KEY", "Hydromancer", "Terms"]
