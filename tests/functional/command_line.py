"""How a command line ended; see the fixture `run` in `conftest.py`."""

from typing import NamedTuple


class Ended(NamedTuple):
    code: int
    out: str
    err: str
