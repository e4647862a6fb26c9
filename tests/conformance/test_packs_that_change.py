"""Sources of a pack that are deleted or overwritten while it is packed."""

import io
import tarfile
from collections.abc import Callable
from typing import Any, Literal

import pytest

from asyncstream import (
    Event,
    FileStarted,
    MiB,
    S3Object,
    S3Prefix,
    SourceChanged,
    SourceNotFound,
    Tar,
    TransferReport,
)
from tests.servers import Bucket, content

from .fixture_types import Copy

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
SMALL = {f"{number:02d}": content(4000, number) for number in range(40)}
LARGE = {f"{number:02d}": content(3 * MiB, number) for number in range(4)}
Change = Callable[[Bucket], object]
CHANGES: dict[str, tuple[Change, type[Exception]]] = {
    "deleted": (lambda bucket: bucket.delete("in/03"), SourceNotFound),
    "overwritten": (lambda bucket: bucket.put("in/03", b"new"), SourceChanged),
    "grown": (lambda bucket: bucket.put("in/03", bucket.get("in/03") + b"more"), SourceChanged),
}


@pytest.fixture
def pack(copy: Copy, bucket: Bucket) -> Callable[..., TransferReport]:
    """Pack files, one of which changes as soon as the pack starts."""

    def pack(
        files: dict[str, bytes], change: Change, if_missing: Literal["fail", "leave_out"], *names: str
    ) -> TransferReport:
        for name, body in files.items():
            bucket.put(f"in/{name}", body)
        changed: list[object] = []

        def on_event(event: Event) -> None:
            if isinstance(event, FileStarted) and not changed:
                changed.append(change(bucket))

        sources: Any = [S3Object(bucket.name, f"in/{name}") for name in names]
        into = Tar(S3Object(bucket.name, "copies/a.tar"), if_missing)
        return copy([(sources or S3Prefix(bucket.name, "in/"), into)], on_event)

    return pack


def entries(bucket: Bucket) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(bucket.get("copies/a.tar"))) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_pack_fails_whole_and_names_the_file(
    pack: Callable[..., TransferReport], bucket: Bucket, files: dict[str, bytes], how: str
) -> None:
    change, error = CHANGES[how]
    report = pack(files, change, "fail")
    with pytest.raises(error, match="in/03"):
        raise report.failed[0].error or AssertionError
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_pack_has_what_is_there_if_asked(
    pack: Callable[..., TransferReport], bucket: Bucket, files: dict[str, bytes], how: str
) -> None:
    report = pack(files, CHANGES[how][0], "leave_out")
    report.raise_for_failures()
    assert "in/03" in str(report.files[0].restarted)
    assert entries(bucket) == {key.removeprefix("in/"): bucket.get(key) for key in bucket.keys("in/")}
    assert bucket.uploads() == []


def test_a_missing_file_of_a_list_is_left_out(pack: Callable[..., TransferReport], bucket: Bucket) -> None:
    report = pack(SMALL, CHANGES["deleted"][0], "leave_out", "02", "03", "missing")
    assert entries(bucket) == {"in/02": SMALL["02"]}
    assert "left out" in report.downgrades[0]


def test_a_missing_file_of_a_list_fails_before_bytes_move(
    pack: Callable[..., TransferReport], bucket: Bucket
) -> None:
    with pytest.raises(SourceNotFound, match="in/missing"):
        pack(SMALL, Bucket.uploads, "fail", "02", "missing")
