"""What the unit tests share: the three engines.

Imports asyncstream before any module of tests imports botocore: that must find BOTO_DISABLE_CRT set.
"""

from collections.abc import Iterator

import pytest

from asyncstream.engines import ENGINES, open_engine
from asyncstream.ports import Engine


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn, the same one for all tests of a module: engines live across transfers."""
    opened = open_engine(request.param)
    yield opened
    opened.close()
