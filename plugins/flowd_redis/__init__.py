"""Streams in Redis, from one daemon to many: what flowd writes there, and how it is read."""
