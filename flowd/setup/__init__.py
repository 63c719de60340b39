"""From a file to running components."""
