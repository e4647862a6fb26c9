"""`TransferSession.read` and `.write`: whole objects, despite faults on the way."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncstream import (
    DeadlineExceeded,
    InputError,
    S3Object,
    SourceNotFound,
    TransferConfig,
    TransferSession,
)
from asyncstream.engines import ENGINES
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault

PLACE = S3Object("lists", "today.txt")
CONTENT = b"a line\n" * 10_000
CONFIG = TransferConfig(retry_base_delay=0.001)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as lab, pytest.MonkeyPatch.context() as environ:
        for name, value in lab.environment().items():
            environ.setenv(name, value)
        lab.create_bucket("lists", keep=True)
        yield lab


@pytest.fixture
def faulty(lab: LabS3) -> Iterator[Callable[..., None]]:
    yield lab.set_faults
    lab.set_faults([])


@pytest.fixture(params=ENGINES, scope="module")
def session(request: pytest.FixtureRequest, lab: LabS3) -> Iterator[TransferSession]:
    with TransferSession(request.param, endpoint_url=lab.endpoint_url) as session:
        yield session


@pytest.fixture(autouse=True)
def write(session: TransferSession) -> None:
    session.write(PLACE, CONTENT, "text/plain", CONFIG)


def test_what_was_written_is_read(session: TransferSession) -> None:
    assert session.read(PLACE, len(CONTENT), CONFIG) == CONTENT


def test_an_empty_one_is_read(session: TransferSession) -> None:
    session.write(PLACE, b"", "text/plain", CONFIG)

    assert session.read(PLACE, 0, CONFIG) == b""


@pytest.mark.parametrize("kind", ["refuse", "truncate", "reset-body"])
def test_a_read_that_breaks_is_repeated(
    session: TransferSession, faulty: Callable[..., None], kind: Any
) -> None:
    faulty([Fault(kind, "GetObject", times=[1])])

    assert session.read(PLACE, len(CONTENT), CONFIG) == CONTENT


def test_a_refused_put_is_repeated(session: TransferSession, faulty: Callable[..., None]) -> None:
    faulty([Fault("refuse", "PutObject", times=[1])])
    session.write(PLACE, b"other", "text/plain", CONFIG)

    assert session.read(PLACE, 5, CONFIG) == b"other"


def test_one_that_is_too_large_is_not_read(session: TransferSession) -> None:
    with pytest.raises(InputError, match=r"today.txt has 70000 bytes: it may have at most 69999"):
        session.read(PLACE, len(CONTENT) - 1, CONFIG)


def test_one_that_is_not_there_is_told(session: TransferSession) -> None:
    with pytest.raises(SourceNotFound):
        session.read(S3Object("lists", "none"), 1, CONFIG)


def test_it_is_not_tried_beyond_the_deadline(session: TransferSession, faulty: Callable[..., None]) -> None:
    faulty([Fault("stall", "GetObject", seconds=30)])

    with pytest.raises(DeadlineExceeded):
        session.read(PLACE, len(CONTENT), CONFIG.override({"deadline": 0.3}))
