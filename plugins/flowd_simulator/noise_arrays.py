"""Seeded noise of many places at once, the same as that of each alone. Apart from it, since what
commands load must not load NumPy.
"""

import numpy as np
import numpy.typing as npt

from flowd_simulator.noise import MASK, octaves

Floats = npt.NDArray[np.float64]


def units(key: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """`unit` of many places."""
    state = np.uint64(key) ^ (places.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93))
    state += np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (state ^ (state >> np.uint64(31))) / float(MASK + 1)


def signs(key: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """`signed` of many places."""
    return 2 * units(key, places) - 1


def walks(seed: int, steps: npt.NDArray[np.int64]) -> Floats:
    """`walk` at many steps in a row."""
    total = np.zeros(len(steps))
    for octave, octave_key in enumerate(octaves(seed)):
        width = 1 << 2 * octave
        first = int(steps[0]) // width
        lattice = signs(octave_key, np.arange(first, int(steps[-1]) // width + 2))
        cells, into = steps // width - first, steps % width
        left, right = lattice[cells], lattice[cells + 1]
        total += (left + (right - left) * into / width) * (1 << octave)
    return total
