"""Parse the dates of replies: those of a listing (ISO 8601) and of a header (RFC 9110, 5.6.7)."""

from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime


def parse_http_date(text: str) -> datetime | None:
    """Parse a date in HTTP's format. Returns None for other text, which S3 would refuse."""
    with suppress(ValueError):
        return parsedate_to_datetime(text)
    return None


def parse_date(text: str | None) -> int:
    """Return a date in seconds since 1970; 0 if there is none, or none that can be read.

    It only becomes the time of an entry in an archive.
    """
    if not text:
        return 0
    with suppress(ValueError):
        return int(datetime.fromisoformat(text).timestamp())
    date = parse_http_date(text)
    return 0 if date is None else int(date.timestamp())
