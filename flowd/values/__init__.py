"""What passes through flowd, and knows nothing of it."""
