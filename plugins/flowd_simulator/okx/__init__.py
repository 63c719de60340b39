"""OKX, played on loopback: its liquidations with their history, and what it lists, over the
simulated market.
"""

from flowd_simulator.okx.exchange import Okx
from flowd_simulator.okx.terms import Terms

__all__ = ["Okx", "Terms"]
