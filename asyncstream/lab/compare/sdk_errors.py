"""Turns errors of the SDK into errors of asyncstream, each in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from asyncstream.errors import AsyncstreamError


@contextmanager
def one_line_errors(kind: type[AsyncstreamError], what: str = "") -> Iterator[None]:
    """Raise errors of the SDK as errors that the command line shows without a traceback.

    Args:
        kind: the class of the raised error.
        what: what failed, as the start of the message.
    """
    try:
        yield
    except AsyncstreamError:  # some are also ValueErrors
        raise
    except (BotoCoreError, Boto3Error, ClientError, ValueError) as error:
        raise kind(f"{what}: {error}" if what else str(error)) from error
