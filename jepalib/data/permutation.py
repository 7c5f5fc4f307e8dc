"""A seeded permutation of any size that needs no memory: position in, row out."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int

ROUNDS = 8  # four per half: the statistical tests of tests/data pass from four rounds on


class Permutation:
    """Pseudo-random permutation of ``range(size)``, evaluated at any positions.

    A Feistel network (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002)
    over pairs (left, right) with ``lefts * rights >= size``; values that fall outside
    are sent through it again until they land inside. Shuffling 100 M jets so costs no
    array of 100 M numbers, and any batch of any epoch can be had at once.

    Args:
        size: number of elements, at least 1.
        key: non-negative integers that select the permutation, such as seed and epoch.
    """

    def __init__(self, size: int, *key: int) -> None:
        self.size = size
        self.lefts = math.isqrt(size - 1) + 1
        self.rights = -(-size // self.lefts)
        self.keys = np.random.SeedSequence(list(key)).generate_state(ROUNDS, np.uint64)

    def __call__(self, positions: Int[np.ndarray, " chosen"]) -> Int[np.ndarray, " chosen"]:
        """The elements at the given positions (each in ``range(size)``)."""
        out = self._encipher(positions.astype(np.uint64))
        outside = np.flatnonzero(out >= self.size)
        while len(outside):
            out[outside] = self._encipher(out[outside])
            outside = outside[out[outside] >= self.size]
        return out.astype(np.int64)

    def _encipher(self, values: np.ndarray) -> np.ndarray:
        left, right = np.divmod(values, np.uint64(self.rights))
        for number in range(0, ROUNDS, 2):
            left = (left + _mix(right, self.keys[number]) % self.lefts) % self.lefts
            right = (right + _mix(left, self.keys[number + 1]) % self.rights) % self.rights
        return left * np.uint64(self.rights) + right


def _mix(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """The splitmix64 finaliser: 64 well-mixed bits of every value."""
    mixed = values + key  # arrays of uint64 wrap around silently, as meant
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)
