"""Bytes to copy: as random as needed for a swapped, shifted or repeated part to show."""

import random
from functools import cache


@cache
def content(size: int, seed: object = 0) -> bytes:
    """The same bytes for the same size and seed, others for any other."""
    return random.Random(f"{seed} {size}").randbytes(size)
