"""A lab S3 for handlers, which find it by environment variables."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import LabS3


@contextmanager
def open_lab() -> Iterator[LabS3]:
    """Run a lab S3 that clients find by environment variables; close the clients kept from other tests."""
    close_all_kept()
    with LabS3() as server, pytest.MonkeyPatch.context() as environ:
        environ.delenv("AWS_PROFILE", raising=False)
        for name, value in server.environment().items():
            environ.setenv(name, value)
        yield server
        close_all_kept()
