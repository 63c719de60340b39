"""The memory: the log, who reads it, and how it survives."""
