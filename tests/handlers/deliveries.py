"""Helpers for the tests of triggers; see the fixture `deliver` in `conftest.py`."""

from collections.abc import Callable
from typing import Any

from asyncstream.lab.s3 import LabS3

ODD = "in/ä b+c%20?#.csv"
Deliver = Callable[..., Any]


def copied(lab: LabS3, target: str) -> set[str]:
    return {key.removeprefix("out/") for key in lab.checksums(target)}
