"""flowd keeps one connection to each upstream, remembers the recent past and serves any number of
readers.
"""

__version__ = "0.1.0"
