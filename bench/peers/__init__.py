"""What flowd is compared with: each peer does the same work in its own way, with nothing added.

The Python ones take `--port` to listen on and `--feed`, a port where finished messages arrive as
lines of text; they run until they are told to stop.
"""
