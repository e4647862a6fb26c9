"""The exit code and output of a command line, as the fixture `run` in `conftest.py` returns them."""

from typing import NamedTuple


class Ended(NamedTuple):
    code: int
    out: str
    err: str
