"""Archives of other programs are unpacked bit for bit as by these programs, in every engine."""

from collections.abc import Callable

import pytest

from asyncstream import InputError, S3Object, S3Prefix, ZipEntries
from tests.servers import Bucket

from .archive_set import ARCHIVES, Made
from .fixture_types import Copy

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
Archive = Callable[[str], Made]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return an archive of the set, made once."""
    made: dict[str, Made] = {}

    def archive(name: str) -> Made:
        if name not in made:
            made[name] = ARCHIVES[name](tmp_path_factory.mktemp("packed"))
        return made[name]

    return archive


@on_the_lab
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_other_programs_are_unpacked(
    copy: Copy, bucket: Bucket, archive: Archive, name: str
) -> None:
    made = archive(name)
    bucket.put("a.zip", made.archive)
    report = copy([(ZipEntries(S3Object(bucket.name, "a.zip")), S3Prefix(bucket.name, "copies/"))])
    failed = {str(file.source).partition("!/")[2]: file.error for file in report.failed}
    assert failed.keys() == made.failing.keys(), failed
    assert all(isinstance(error, InputError) for error in failed.values())
    assert all(words in str(failed[name]) for name, words in made.failing.items())
    found = {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")}
    assert found == made.files
    assert {file.read_verified for file in report.copied if file.bytes} <= {"CRC32"}
    assert bucket.uploads() == []
