"""Bytes to copy: random enough that a swapped, shifted or repeated part shows."""

import random
from functools import cache


@cache
def content(size: int, seed: object = 0) -> bytes:
    """Return the same bytes for the same size and seed, and different bytes for any other."""
    return random.Random(f"{seed} {size}").randbytes(size)
