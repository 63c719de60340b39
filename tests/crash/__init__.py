"""Real processes under `kill -9`, and a referee who knows what the exchange sent."""
