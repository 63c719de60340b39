"""For who runs flowd: what it says of itself."""
