"""Names as SQL writes them: of the streams' tables, and of two of our own."""

import re

STREAMS, GAPS = "flowd:streams", "flowd:gaps"
"""Tables of our own: no stream's name has a colon."""


def quoted(name: str) -> str:
    """A name as SQL writes it. Streams' names are letters, digits, `-`, `_` and `.`."""
    assert re.fullmatch(r"[A-Za-z0-9_.:, -]+", name)
    return f'"{name}"'
