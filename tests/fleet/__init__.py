"""Hundreds of clients behind a proxy, several daemons with the same streams, and what may fail."""
