"""Dates of replies, as servers write them."""

import pytest

from asyncstream.s3.dates import parse_date


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-30T13:28:04.000Z", 1_796_045_284),
        ("2026-11-30T13:28:04+00:00", 1_796_045_284),
        ("Mon, 30 Nov 2026 13:28:04 GMT", 1_796_045_284),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_a_date_becomes_seconds(text: str | None, seconds: int) -> None:
    assert parse_date(text) == seconds
