"""Objects of a run, which anything may have written: what is wrong with them is a clear error."""

from collections.abc import Callable

import pytest

from asyncstream.errors import InputError
from asyncstream.events.deployment import Deployment
from asyncstream.locations import S3Object
from asyncstream.runs.descriptions import decode_description
from asyncstream.runs.outcomes import decode_outcome
from asyncstream.runs.rows import decode_rows
from asyncstream.runs.sources.inventories import read_manifest

PLACE = S3Object("runs", "run/object.json")
DEEP = b"[" * 100_000 + b"]" * 100_000
DESCRIBED = b'{"source":"s3://a/","destination":"s3://b/","totals":{"batches":%d},"settings":%b}'


@pytest.mark.parametrize("decode", [decode_description, decode_outcome, decode_rows, read_manifest])
@pytest.mark.parametrize("content", [b"", b"null", b'{"a":' + DEEP + b"}", b'{"source":"\xff"}', DEEP, b"7"])
def test_what_is_no_object_of_a_run_is_refused(
    decode: Callable[[bytes, S3Object], object], content: bytes
) -> None:
    if decode is decode_rows and not content:
        assert decode(content, PLACE) == []
        return
    with pytest.raises(InputError, match=r"object\.json"):
        decode(content, PLACE)


@pytest.mark.parametrize(
    "content", [DESCRIBED % (0, DEEP), DESCRIBED % (2**31, b"{}"), DESCRIBED % (-1, b"{}")]
)
def test_a_description_beyond_all_limits_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="does not describe a run"):
        decode_description(content, PLACE)


@pytest.mark.parametrize("transform", [5, 0.5, ["os:system"], {"os:system": 1}])
def test_a_transform_of_another_type_is_no_crash(transform: object) -> None:
    """A description may have one. The transfer refuses what names no function."""
    deployment = Deployment(transforms=frozenset())
    if ":" not in str(transform):
        deployment.check_settings({"transform": transform})
        return
    with pytest.raises(InputError, match="may not name the transform"):
        deployment.check_settings({"transform": transform})
