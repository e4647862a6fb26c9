"""Copies of a version that is not the object's latest."""

import pytest

from asyncstream import MiB, S3Object, SourceNotFound
from tests.servers import Bucket, Capability, content

from .fixture_types import Copy

pytestmark = pytest.mark.needs(Capability.VERSIONS)


@pytest.fixture
def versions(bucket: Bucket) -> Bucket:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.mark.parametrize("size", [100, 5 * MiB + 1], ids=["put", "multipart"])
def test_the_version_named_is_copied_and_not_the_latest(copy: Copy, versions: Bucket, size: int) -> None:
    first = versions.put("file", content(size, "first"))
    versions.put("file", content(size, "second"))
    source = S3Object(versions.name, "file", version_id=first)
    copy([(source, S3Object(versions.name, "copy"))], multipart=True).raise_for_failures()
    assert versions.get("copy") == content(size, "first")


def test_a_missing_version_is_named(copy: Copy, versions: Bucket) -> None:
    versions.put("file", b"x")
    source = S3Object(versions.name, "file", version_id="00000000-0000-0000-0000-000000000000")
    [result] = copy([(source, S3Object(versions.name, "copy"))]).files
    assert isinstance(result.error, SourceNotFound)
    assert f"s3://{versions.name}/file" in str(result.error)
