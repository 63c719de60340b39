"""Seeded noise as a function of place, so that any moment of a price path can be asked for alone.

A generator of random numbers must be run from the start to reach an instant. A hash of (seed,
name, instant) is there at once, in any order, and gives history and the live market the same past.
"""

from functools import lru_cache
from hashlib import blake2b

MASK = (1 << 64) - 1
OCTAVES = 9
"""Lattices of 1, 4, 16 … 65536 steps: from one minute to six weeks."""


@lru_cache(maxsize=10_000)
def key(*parts: object) -> int:
    """A number that stands for these parts, the same in every process."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(state: int) -> int:
    """Scatter 64 bits: neighbours in, strangers out (the finisher of splitmix64)."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def unit(key: int, place: int) -> float:
    """A number from 0 up to 1 for a place."""
    return mix(key ^ (place * 0xD6E8FEB86659FD93 & MASK)) / (MASK + 1)


def signed(key: int, place: int) -> float:
    """A number from -1 up to 1 for a place."""
    return 2 * unit(key, place) - 1


def octaves(seed: int) -> list[int]:
    """The keys of the lattices of a walk, which looks random, of unit steps, and stays near 0.

    Noise on ever coarser lattices is added up, each twice as strong as the one four times finer:
    distance grows with the square root of time, as in a walk.
    """
    return [mix(seed + octave) for octave in range(OCTAVES)]
