"""Invariants under random files, settings and failures: a file is copied whole, or not at all."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream import KiB, MiB
from tests.places import key_of
from tests.servers import Bucket, content

from .faulty_transport import (
    DownloadBroken,
    DownloadTruncated,
    Fault,
    Refused,
    ReplyLost,
    UploadBroken,
)
from .fixture_types import Copy, Pairs

# Only the lab is quick enough for many examples.
pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)

sizes = st.one_of(
    st.integers(0, 300 * KiB),
    st.integers(-1, 1).map(lambda off: 5 * MiB + off),
    st.integers(5 * MiB, 11 * MiB),
)
# Few values for settings that need new clients.
configs = st.fixed_dictionaries(
    {
        "max_concurrency": st.sampled_from([1, 4]),
        "part_size": st.integers(5 * MiB, 6 * MiB),
        "multipart": st.booleans(),
        "max_attempts": st.integers(1, 3),
    }
)
faults = st.one_of(
    st.builds(DownloadBroken, st.just("GetObject"), st.sets(st.integers(1, 6))),
    st.builds(DownloadTruncated, st.just("GetObject"), st.sets(st.integers(1, 6))),
    st.builds(UploadBroken, st.sampled_from(["PutObject", "UploadPart"]), st.sets(st.integers(1, 6))),
    st.builds(ReplyLost, st.sampled_from(["PutObject", "UploadPart"]), st.sets(st.integers(1, 6))),
    st.builds(
        Refused,
        st.sampled_from(
            ["GetObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
        ),
        st.sets(st.integers(1, 6)),
    ),
)


@settings(
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sizes=st.lists(sizes, min_size=1, max_size=3), config=configs, faults=st.lists(faults, max_size=3))
def test_a_file_is_copied_whole_or_not_at_all(
    copy_with_faults: Copy,
    bucket: Bucket,
    pairs: Pairs,
    sizes: list[int],
    config: dict[str, Any],
    faults: list[Fault],
) -> None:
    bucket.empty()
    bodies = {f"file-{number}": content(size, number) for number, size in enumerate(sizes)}
    for key, body in bodies.items():
        bucket.put(key, body)
    report = copy_with_faults(pairs(*bodies), *faults, **config)
    assert [key_of(result.source) for result in report.files] == list(bodies)
    copied = {key_of(result.destination) for result in report.files if result.status == "copied"}
    stored = bucket.keys("copies/")
    assert stored >= copied
    assert {key: bucket.get(key) == bodies[key.removeprefix("copies/")] for key in stored} == dict.fromkeys(
        stored, True
    )
    assert bucket.uploads() == []
    if not faults:
        assert not report.failed
