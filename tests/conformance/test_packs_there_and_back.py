"""What is packed is unpacked again: with any files, slots and sizes of parts."""

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream import KiB, MiB, S3Object, S3Prefix, Tar, TarEntries, Zip, ZipEntries
from tests.servers import Bucket, content

from .fixture_types import Copy

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\:."), min_size=1
)
# Around the limits of what is read whole, and of what goes in one part.
SIZES = st.one_of(
    st.integers(0, 600),
    st.sampled_from([128 * KiB, 128 * KiB + 1, 512 * KiB, 512 * KiB + 1, 5 * MiB, 7 * MiB + 3]),
)
FILES = st.dictionaries(
    st.lists(NAMES.map(lambda name: name[:60]), min_size=1, max_size=3).map("/".join),
    SIZES,
    min_size=1,
    max_size=30,
)
_runs = count()


@given(
    files=FILES,
    archive=st.sampled_from([(Tar, TarEntries), (Zip, ZipEntries)]),
    slots=st.sampled_from([1, 3, 10]),
    part_size=st.sampled_from([5 * MiB, 6 * MiB + 1]),
)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_unpacking_undoes_packing(
    copy: Copy,
    bucket: Bucket,
    files: dict[str, int],
    archive: tuple[type[Tar | Zip], type[TarEntries | ZipEntries]],
    slots: int,
    part_size: int,
) -> None:
    run = f"{next(_runs)}/"
    # A name cannot be that of a file and of a folder at once.
    named = {f"{number}/{name}": content(size, number) for number, (name, size) in enumerate(files.items())}
    for name, body in named.items():
        bucket.put(f"{run}in/{name}", body)
    packed = S3Object(bucket.name, f"{run}packed")
    pack, entries = archive
    options = {"max_concurrency": slots, "part_size": part_size, "multipart": True}
    copy([(S3Prefix(bucket.name, f"{run}in/"), pack(packed))], **options).raise_for_failures()
    copy([(entries(packed), S3Prefix(bucket.name, f"{run}out/"))], **options).raise_for_failures()
    found = {key.removeprefix(f"{run}out/"): bucket.get(key) for key in bucket.keys(f"{run}out/")}
    assert found == named
    assert bucket.uploads() == []
