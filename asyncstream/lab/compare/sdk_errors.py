"""The SDK's errors as the comparison's own, of one line each."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from asyncstream.errors import AsyncstreamError


@contextmanager
def said_in_one_line(kind: type[AsyncstreamError], what: str = "") -> Iterator[None]:
    """Raise what the SDK raises as an error that the command line shows without a traceback.

    Args:
        kind: of that error.
        what: could not be done; stands before what the SDK says.
    """
    try:
        yield
    except AsyncstreamError:  # some of which are ValueErrors too
        raise
    except (BotoCoreError, Boto3Error, ClientError, ValueError) as error:
        raise kind(f"{what}: {error}" if what else str(error)) from error
