"""The chain of Hyperliquid, played: who trades, holds and is liquidated; what others tell of it."""
