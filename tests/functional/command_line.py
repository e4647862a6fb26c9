"""The exit code and output of a command line, as the fixture `run` in `conftest.py` returns them."""

from collections.abc import Callable
from typing import NamedTuple

from asyncstream.lab.s3 import LabS3

# The type of the fixture `lab_with`, given the number and the size of the sources.
LabWith = Callable[[int, int], LabS3]


class Ended(NamedTuple):
    code: int
    out: str
    err: str
