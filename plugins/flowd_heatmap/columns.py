"""A map at one moment in compact form: a byte for each bin of prices.

Code 0 is nothing, code n a density of about 2^((n-1)/8) quote units: 8 steps to each doubling, so
that what is read back is within 4.5 % of what was written, up to 3.4e9; more counts as that.
Densities are to be read relative to each other (domain/heatmap.md, section 10).
"""

import zlib
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from flowd_heatmap.side import Book

STEPS = 8
Codes = NDArray[np.uint8]
DENSITIES = np.concatenate(([0.0], np.exp2(np.arange(255) / STEPS)))
"""What each code stands for."""


def codes(densities: NDArray[np.float64]) -> Codes:
    """The codes of densities."""
    steps = np.maximum(densities, 1.0)
    np.log2(steps, out=steps)
    steps *= STEPS
    np.rint(steps, out=steps)
    steps += 1
    np.minimum(steps, 255, out=steps)
    found = steps.astype(np.uint8)
    found *= densities >= 1
    return found


def pack(found: Codes) -> str:
    """Codes as text."""
    return b64encode(zlib.compress(found.tobytes(), 6)).decode()


def unpack(text: str) -> Codes:
    """What `pack` was given."""
    return np.frombuffer(unpacked(text), np.uint8)


def unpacked(text: str) -> bytes:
    """The same as bytes."""
    return zlib.decompress(a2b_base64(text))


def spread(books: Iterable[Book], lowest: int, highest: int) -> tuple[int, list[Codes]]:
    """The codes of some books over the bins that hold something, between two bins: the first bin,
    and one array for each book.
    """
    made = [codes(book.about.between(lowest, highest) * float(book.factor)) for book in books]
    filled = np.flatnonzero(np.logical_or.reduce([each > 0 for each in made]))
    if not len(filled):
        return lowest, [each[:0] for each in made]
    first, last = int(filled[0]), int(filled[-1])
    return lowest + first, [each[first : last + 1] for each in made]
