"""A flowd plugin: how traders did, and how they compare."""
