"""`if_exists`: existing copies are skipped, other files are copied, and protected objects stay untouched."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytest

from asyncstream import MiB, S3Object, S3Prefix, TransferConfig, TransferSession
from asyncstream.engines import ENGINES
from asyncstream.errors import DestinationExists
from asyncstream.pipeline.pairs import Pair
from tests.servers import Bucket, LabServer, S3Server, content

MARK = "asyncstream-source"
SMALL = 20_000
LARGE = 11 * MiB
WRITES = {"PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"}


IfExists = Literal["overwrite", "skip", "fail"]


@pytest.fixture(params=ENGINES, scope="module")
def session(request: pytest.FixtureRequest, running: Callable[[str], S3Server]) -> Iterator[TransferSession]:
    with TransferSession(request.param, endpoint_url=running("lab").endpoint_url) as session:
        yield session


@pytest.fixture
def bucket(lab_server: LabServer) -> Iterator[Bucket]:
    bucket = lab_server.new_bucket()
    yield bucket
    bucket.empty()


def pair(
    bucket: Bucket, source: str = "in/file", target: str = "out/file"
) -> list[tuple[S3Object, S3Object]]:
    return [(S3Object(bucket.name, source), S3Object(bucket.name, target))]


def prefixes(bucket: Bucket) -> list[tuple[S3Prefix, S3Prefix]]:
    return [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "out/"))]


def configured(if_exists: IfExists, **settings: Any) -> TransferConfig:
    defaults = {"part_size": 5 * MiB, "max_concurrency": 3, "multipart": True}
    return TransferConfig(if_exists=if_exists, **defaults | settings)


def copied(
    session: TransferSession, files: Iterable[Pair], if_exists: IfExists = "skip", **settings: Any
) -> str:
    report = session.transfer(files, configured(if_exists, **settings))
    report.raise_for_failures()
    return report.files[0].status


def mark(size: int, etag: str) -> str:
    return f"{size} {etag}"


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_what_was_copied_is_skipped_and_nothing_written_again(
    lab_server: LabServer, bucket: Bucket, session: TransferSession, files: Callable[..., Any], size: int
) -> None:
    bucket.put("in/file", content(size))
    etag = bucket.head("in/file")["ETag"]

    assert copied(session, files(bucket)) == "copied"
    assert bucket.head("out/file")["Metadata"] == {MARK: mark(size, etag)}
    written = bucket.head("out/file")["LastModified"]

    with lab_server.counted() as sent:
        report = session.transfer(files(bucket), configured("skip"))
    [result] = report.skipped
    assert (result.status, result.bytes, result.error) == ("skipped", 0, None)
    assert result.etag == bucket.head("out/file")["ETag"]
    assert not WRITES & sent.keys()
    # The size from a listing is not requested again.
    assert sent["GetObject"] == (1 if files is pair else 0)
    assert sent["HeadObject"] == 1
    assert bucket.head("out/file")["LastModified"] == written
    assert bucket.get("out/file") == content(size)


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
def test_of_many_only_those_that_are_missing_are_copied(
    lab_server: LabServer, bucket: Bucket, session: TransferSession, files: Callable[..., Any]
) -> None:
    keys = ["a", "b", "c", "d"]
    for key in keys:
        bucket.put(f"in/{key}", content(SMALL, key))
    asked = prefixes(bucket) if files is prefixes else [pair(bucket, f"in/{k}", f"out/{k}")[0] for k in keys]
    for key in "ac":
        assert copied(session, pair(bucket, f"in/{key}", f"out/{key}")) == "copied"

    with lab_server.counted() as sent:
        report = session.transfer(asked, configured("skip"))

    assert [file.status for file in report.files] == ["skipped", "copied", "skipped", "copied"]
    assert sent["PutObject"] == 2
    assert {key: bucket.get(f"out/{key}") for key in keys} == {key: content(SMALL, key) for key in keys}


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_source_that_was_overwritten_is_copied_again(
    bucket: Bucket, session: TransferSession, files: Callable[..., Any], size: int
) -> None:
    bucket.put("in/file", content(size))
    assert copied(session, files(bucket)) == "copied"
    bucket.put("in/file", content(size, "another"))

    assert copied(session, files(bucket)) == "copied"
    assert bucket.get("out/file") == content(size, "another")
    assert bucket.head("out/file")["Metadata"] == {MARK: mark(size, bucket.head("in/file")["ETag"])}
    assert copied(session, files(bucket)) == "skipped"


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
def test_a_copy_made_without_skip_is_known_by_its_checksum(
    lab_server: LabServer, bucket: Bucket, session: TransferSession, files: Callable[..., Any]
) -> None:
    bucket.put("in/file", content(SMALL))
    assert copied(session, files(bucket), "overwrite") == "copied"
    assert bucket.head("out/file")["Metadata"] == {}

    with lab_server.counted() as sent:
        assert copied(session, files(bucket)) == "skipped"
    assert not WRITES & sent.keys()
    assert bucket.head("out/file")["Metadata"] == {}


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_destination_that_was_changed_is_overwritten(
    bucket: Bucket, session: TransferSession, files: Callable[..., Any], size: int
) -> None:
    bucket.put("in/file", content(size))
    assert copied(session, files(bucket)) == "copied"
    bucket.put("out/file", content(size, "changed"))

    assert copied(session, files(bucket)) == "copied"
    assert bucket.get("out/file") == content(size)


def test_a_shorter_destination_is_overwritten_despite_its_mark(
    bucket: Bucket, session: TransferSession
) -> None:
    bucket.put("in/file", content(SMALL))
    etag = bucket.head("in/file")["ETag"]
    bucket.put("out/file", content(SMALL)[:-1], Metadata={MARK: mark(SMALL, etag)})

    assert copied(session, pair(bucket)) == "copied"
    assert bucket.get("out/file") == content(SMALL)


@pytest.mark.parametrize("text", ["", "x", "20000", '-1 "e"', '20000 "other"'])
def test_a_mark_that_says_nothing_of_use_does_no_harm(
    bucket: Bucket, session: TransferSession, text: str
) -> None:
    bucket.put("in/file", content(SMALL))
    bucket.put("out/file", content(SMALL, "other"), Metadata={MARK: text})

    assert copied(session, pair(bucket)) == "copied"
    assert bucket.get("out/file") == content(SMALL)


def test_metadata_that_fills_s3s_limit_is_kept_without_a_mark(
    lab_server: LabServer, bucket: Bucket, session: TransferSession
) -> None:
    full = {"name": "x" * (2048 - len("name"))}
    bucket.put("in/file", content(SMALL), Metadata=full)

    assert copied(session, pair(bucket)) == "copied"
    assert bucket.head("out/file")["Metadata"] == full
    with lab_server.counted() as sent:
        assert copied(session, pair(bucket)) == "skipped"  # because its checksum matches
    assert not WRITES & sent.keys()


def test_the_mark_fits_exactly_or_not_at_all(bucket: Bucket, session: TransferSession) -> None:
    bucket.put("in/probe", content(SMALL))
    own = len(MARK) + len(mark(SMALL, bucket.head("in/probe")["ETag"]))
    for spare, marked in ((0, True), (-1, False)):
        metadata = {"m": "x" * (2048 - own - 1 - spare)}
        bucket.put("in/file", content(SMALL), Metadata=metadata)
        assert copied(session, pair(bucket, target=f"out/{spare}")) == "copied"
        kept = bucket.head(f"out/{spare}")["Metadata"]
        assert (MARK in kept, kept["m"]) == (marked, metadata["m"])


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_metadata_stands_beside_the_mark(bucket: Bucket, session: TransferSession, size: int) -> None:
    """The metadata comes from the source or from `extra_args`."""
    bucket.put("in/file", content(size), Metadata={"owner": "alice"}, ContentType="text/csv")
    origin = {MARK: mark(size, bucket.head("in/file")["ETag"])}

    assert copied(session, pair(bucket)) == "copied"
    assert bucket.head("out/file")["Metadata"] == {"owner": "alice"} | origin
    assert bucket.head("out/file")["ContentType"] == "text/csv"

    extra = {"Metadata": {"stage": "clean"}}
    assert copied(session, pair(bucket, target="out/other"), extra_args=extra) == "copied"
    assert bucket.head("out/other")["Metadata"] == {"stage": "clean"} | origin
    assert extra == {"Metadata": {"stage": "clean"}}
    assert copied(session, pair(bucket, target="out/other"), extra_args=extra) == "skipped"


def test_a_copy_of_a_copy_has_a_mark_of_its_own(bucket: Bucket, session: TransferSession) -> None:
    bucket.put("in/file", content(LARGE))
    assert copied(session, pair(bucket)) == "copied"
    first, second = pair(bucket), pair(bucket, "out/file", "out/copy")
    assert copied(session, second) == "copied"

    of_first, of_second = (bucket.head(key)["ETag"] for key in ("in/file", "out/file"))
    assert of_first != of_second  # one was a single PUT, the other has parts
    assert bucket.head("out/file")["Metadata"] == {MARK: mark(LARGE, of_first)}
    assert bucket.head("out/copy")["Metadata"] == {MARK: mark(LARGE, of_second)}
    assert copied(session, first) == copied(session, second) == "skipped"

    assert copied(session, pair(bucket, "out/file", "out/plain"), "overwrite") == "copied"
    assert MARK not in bucket.head("out/plain")["Metadata"]


@pytest.mark.parametrize("files", [pair, prefixes], ids=["size unknown", "listed"])
@pytest.mark.parametrize(("size", "multipart"), [(0, True), (SMALL, True), (LARGE, True), (LARGE, False)])
def test_fail_leaves_what_is_there_and_no_upload(
    lab_server: LabServer,
    bucket: Bucket,
    session: TransferSession,
    files: Callable[..., Any],
    size: int,
    multipart: bool,
) -> None:
    bucket.put("in/file", content(size))
    bucket.put("out/file", b"precious", Metadata={"kept": "as it is"})
    before = bucket.head("out/file")

    with lab_server.counted() as sent:
        report = session.transfer(files(bucket), configured("fail", multipart=multipart))

    [result] = report.failed
    assert isinstance(result.error, DestinationExists)
    assert isinstance(result.error, FileExistsError)
    assert f"s3://{bucket.name}/out/file exists and if_exists=" in str(result.error)
    assert bucket.get("out/file") == b"precious"
    after = bucket.head("out/file")
    assert [after[name] for name in ("ETag", "LastModified", "Metadata")] == [
        before[name] for name in ("ETag", "LastModified", "Metadata")
    ]
    assert bucket.uploads() == []
    assert sent["PutObject"] + sent["CreateMultipartUpload"] == 0  # a HEAD found the object first


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_fail_creates_where_nothing_is(bucket: Bucket, session: TransferSession, size: int) -> None:
    bucket.put("in/file", content(size))

    assert copied(session, pair(bucket), "fail") == "copied"
    assert bucket.get("out/file") == content(size)
    assert bucket.head("out/file")["Metadata"] == {}
    assert bucket.uploads() == []


def test_fail_spares_the_files_whose_places_are_free(bucket: Bucket, session: TransferSession) -> None:
    for key in ("a", "b"):
        bucket.put(f"in/{key}", content(SMALL, key))
    bucket.put("out/a", b"precious")

    report = session.transfer(prefixes(bucket), configured("fail"))

    assert [file.status for file in report.files] == ["failed", "copied"]
    assert (bucket.get("out/a"), bucket.get("out/b")) == (b"precious", content(SMALL, "b"))
