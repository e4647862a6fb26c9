"""The engines for the unit tests.

It imports asyncstream before any test module imports botocore, which must find BOTO_DISABLE_CRT set.
"""

from collections.abc import Iterator

import pytest

from asyncstream.engines import ENGINES, open_engine
from asyncstream.ports import Engine


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn, one for all tests of a module: engines outlive transfers."""
    opened = open_engine(request.param)
    yield opened
    opened.close()
