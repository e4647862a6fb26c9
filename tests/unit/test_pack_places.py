"""Packs and lines as places: checked without I/O."""

from typing import Any

import pytest

from asyncstream import (
    Concat,
    InputError,
    LocalFile,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    Tar,
    WebFile,
    Zip,
)
from asyncstream.locations import Pack
from asyncstream.pipeline.pairs import check_pairs

A, B, TARGET = S3Object("raw", "a"), S3Object("raw", "b"), S3Object("clean", "x.tar")


def test_a_list_becomes_one_source() -> None:
    assert check_pairs([([A, B], Tar(TARGET))]) == [(Pack((A, B), Tar(TARGET)), TARGET)]
    assert check_pairs([(A, Zip(TARGET))]) == [(Pack((A,), Zip(TARGET)), TARGET)]


def test_a_pack_is_shown_by_its_first_file() -> None:
    assert str(Pack((A, B, LocalFile("c")), Tar(TARGET))) == "s3://raw/a and 2 more"
    assert str(Pack((A,), Tar(TARGET))) == "s3://raw/a"
    assert str(Pack(S3Prefix("raw", "in/"), Tar(TARGET))) == "s3://raw/in/"


@pytest.mark.parametrize(
    ("sources", "into", "message"),
    [
        ([A, "s3://raw/b"], Tar(TARGET), "Tar takes an S3Prefix"),
        ([A, S3Prefix("raw", "in/")], Zip(TARGET), "Zip takes an S3Prefix"),
        (WebFile("https://host/x"), Tar(TARGET), "Tar takes an S3Prefix"),
        ([A, TARGET], Tar(TARGET), "s3://clean/x.tar cannot be made of itself"),
    ],
)
def test_what_cannot_be_packed_is_refused(sources: Any, into: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_pairs([(sources, into)])


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(NothingToTransfer, match=r"files to pack into .* is empty"):
        check_pairs([([], Tar(TARGET))])


@pytest.mark.parametrize(
    "settings",
    [{"separator": "text"}, {"separator": b"x" * 4097}, {"header": "none"}, {"if_missing": "skip"}],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Concat(TARGET, **settings)
