"""Seeded noise of many places at once, the same as that of each alone. Apart from it, since what
commands load must not load NumPy.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from flowd_simulator.noise import MASK, octaves

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
SPARSE: Final = 4
"""Of a lattice finer than every so many places it is cheaper to make the points that are used."""


def hashes(key: int, places: Ints) -> Hashes:
    """64 bits for each of many places."""
    state = np.uint64(key) ^ (places.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93))
    state += np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def units(key: int, places: Ints) -> Floats:
    """`unit` of many places."""
    return hashes(key, places) / float(MASK + 1)


def signs(key: int, places: Ints) -> Floats:
    """`signed` of many places."""
    return 2 * units(key, places) - 1


def part(hashed: Hashes, number: int) -> Floats:
    """A number from 0 up to 1 of each hash: there are four, independent and 16 bits fine."""
    return ((hashed >> np.uint64(16 * number)) & np.uint64(0xFFFF)) / 65536.0


def walks(seed: int, steps: Ints) -> Floats:
    """`walk` at many steps, which rise."""
    total = np.zeros(len(steps))
    apart = (int(steps[-1]) - int(steps[0])) / max(1, len(steps) - 1)
    for octave, octave_key in enumerate(octaves(seed)):
        width = 1 << 2 * octave
        cells, into = steps // width, steps % width
        if SPARSE * width < apart:
            left, right = signs(octave_key, cells), signs(octave_key, cells + 1)
        else:
            first = int(cells[0])
            lattice = signs(octave_key, np.arange(first, int(cells[-1]) + 2))
            left, right = lattice[cells - first], lattice[cells - first + 1]
        total += (left + (right - left) * into / width) * (1 << octave)
    return total
