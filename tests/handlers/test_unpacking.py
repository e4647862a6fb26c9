"""Archives in the four functions that copy: by direct events, and as a deployed function unpacks new ones."""

import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault

from .archive_files import FILES, mark_encrypted, pack
from .deliveries import Deliver
from .invocations import Invoke
from .trigger_events import object_created, s3_batch, s3_put, sqs

_names = itertools.count()
ARCHIVE = "in/2026.zip"


@pytest.fixture
def s3(lab: LabS3) -> Iterator[Any]:
    client = boto3.client("s3")
    yield client
    client.close()


@pytest.fixture
def source(lab: LabS3, s3: Any) -> str:
    """Create a bucket with an archive and an object that is none."""
    name = f"archives-{next(_names)}"
    lab.create_bucket(name, keep=True)
    s3.put_object(Bucket=name, Key=ARCHIVE, Body=pack())
    s3.put_object(Bucket=name, Key="in/plain.csv", Body=b"plain")
    return name


@pytest.fixture
def put(s3: Any, source: str) -> Callable[..., None]:
    return lambda body, key=ARCHIVE: s3.put_object(Bucket=source, Key=key, Body=body)


def objects(s3: Any, bucket: str) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {row["Key"]: s3.get_object(Bucket=bucket, Key=row["Key"])["Body"].read() for row in listed}


def under(prefix: str, files: Any = FILES) -> dict[str, bytes]:
    return {prefix + name: body for name, body in files.items()}


class TestDirectEvent:
    def test_its_archive_is_unpacked(self, invoke: Invoke, s3: Any, source: str, target: str) -> None:
        reply = invoke({"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/x/"})

        assert (reply["status"], reply["totals"]["copied"]) == ("copied", len(FILES))
        assert reply["totals"]["bytes"] == sum(map(len, FILES.values()))
        assert objects(s3, target) == under("x/")

    def test_it_selects_and_decodes_names_and_reports(
        self, invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None]
    ) -> None:
        japanese = "\N{HIRAGANA LETTER A}.csv"
        marker = "AA.csv"  # of the same length in cp932; not marked as UTF-8
        put(pack({marker: b"a", "b.txt": b"b"}).replace(marker.encode(), japanese.encode("cp932")))
        report = f"s3://{target}/report.json"
        reply = invoke(
            {
                "unzip": f"s3://{source}/{ARCHIVE}",
                "destination": f"s3://{target}/",
                "select": "*.csv",
                "encoding": "cp932",
                "report_uri": report,
            }
        )

        assert (reply["status"], reply["report_uri"]) == ("copied", report)
        found = objects(s3, target)
        [row] = json.loads(found.pop("report.json"))["files"]
        assert found == {japanese: b"a"}
        assert (row["source"], row["status"]) == (f"s3://{source}/{ARCHIVE}!/{japanese}", "copied")
        assert row["read_verified"] == "CRC32"

    def test_an_encrypted_file_fails_alone(
        self, invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None]
    ) -> None:
        put(mark_encrypted(pack({"a": b"a", "b": b"b"}), "b"))
        reply = invoke({"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/"})

        assert reply["status"] == "partial"
        assert [row["source"] for row in reply["failures"]] == [f"s3://{source}/{ARCHIVE}!/b"]
        assert objects(s3, target) == {"a": b"a"}

    @pytest.mark.parametrize(
        ("key", "kind", "message"),
        [
            ("in/plain.csv", "CorruptInput", "it is not a ZIP archive"),
            ("in/none", "SourceNotFound", "no such"),
        ],
    )
    def test_what_is_no_archive_is_rejected(
        self, invoke: Invoke, source: str, target: str, key: str, kind: str, message: str
    ) -> None:
        reply = invoke({"unzip": f"s3://{source}/{key}", "destination": f"s3://{target}/"})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", kind)
        assert message in reply["error"]["message"]
        assert f"s3://{source}/{key}" in reply["error"]["message"]

    def test_it_is_unpacked_beside_other_files(
        self, invoke: Invoke, s3: Any, source: str, target: str
    ) -> None:
        archive = {"source": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/x/"}
        plain = {"source": f"s3://{source}/in/plain.csv", "destination": f"s3://{target}/p"}
        reply = invoke({"files": [archive | {"entries": {"select": "empty"}}, plain]})

        assert reply["status"] == "copied"
        assert objects(s3, target) == {"x/empty": b"", "p": b"plain"}

    def test_a_deployed_function_unpacks_within_its_prefixes(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        here, there = f"s3://{source}/{ARCHIVE}", f"s3://{target}/out/x/"
        replies = [
            deliver({"unzip": "s3://elsewhere/a.zip", "destination": there}),
            deliver({"unzip": here, "destination": f"s3://{target}/"}),
            deliver({"unzip": here, "destination": f"s3://{source}/in/x/"}),
            deliver({"files": [{"source": here, "destination": f"s3://{target}/", "entries": {}}]}),
        ]

        assert [reply["status"] for reply in replies] == ["rejected"] * 4
        assert all("is outside s3://" in reply["error"]["message"] for reply in replies)
        assert lab.stats()["operations"] == {}
        assert deliver({"unzip": here, "destination": there})["status"] == "copied"


def triggers(source: str, key: str) -> dict[str, Any]:
    return {
        "s3": s3_put(source, key),
        "eventbridge": object_created(source, key),
        "sqs": sqs(s3_put(source, key)),
        "s3-batch": s3_batch(source, key),
        "step-functions": {"Items": [{"source": f"s3://{source}/{key}"}]},
    }


TRIGGERS = tuple(triggers("", ""))


class TestUnpack:
    """`ASYNCSTREAM_UNPACK=zip`."""

    @pytest.fixture(autouse=True)
    def unpack(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASYNCSTREAM_UNPACK", "zip")

    @pytest.mark.parametrize("trigger", TRIGGERS)
    @pytest.mark.parametrize("key", ["in/2026.zip", "in/2026.ZIP"])
    def test_a_new_archive_is_unpacked(
        self,
        deliver: Deliver,
        s3: Any,
        source: str,
        target: str,
        put: Callable[..., None],
        trigger: str,
        key: str,
    ) -> None:
        put(pack(), key)
        deliver(triggers(source, key)[trigger])

        assert objects(s3, target) == under("out/in/2026/")

    @pytest.mark.parametrize("key", ["in/plain.csv", "in/.zip", "in/a.zip.csv", "in/zip"])
    def test_every_other_object_is_copied(
        self, deliver: Deliver, s3: Any, source: str, target: str, put: Callable[..., None], key: str
    ) -> None:
        put(b"plain", key)

        assert deliver(s3_put(source, key)) == {"copied": 1, "bytes": 5}
        assert objects(s3, target) == {f"out/{key}": b"plain"}

    def test_its_files_are_counted(self, deliver: Deliver, source: str) -> None:
        size = sum(map(len, FILES.values()))

        assert deliver(s3_put(source, ARCHIVE, "in/plain.csv")) == {"copied": 5, "bytes": size + 5}

    @pytest.mark.parametrize("trigger", ["s3", "eventbridge", "sqs", "s3-batch"])
    def test_a_second_delivery_writes_only_what_differs(
        self,
        deliver: Deliver,
        lab: LabS3,
        s3: Any,
        source: str,
        target: str,
        put: Callable[..., None],
        trigger: str,
    ) -> None:
        event = triggers(source, ARCHIVE)[trigger]
        deliver(event)
        deliver(event)
        assert "PutObject" not in lab.stats()["operations"]

        changed = {**FILES, "a.csv": b"5,6\n" * 100, "new": b"new"}
        put(pack(changed))
        deliver(event)

        assert lab.stats()["operations"]["PutObject"] == 2
        assert objects(s3, target) == under("out/in/2026/", changed)

    def test_what_fails_is_named_and_delivered_again(
        self, deliver: Deliver, s3: Any, source: str, target: str, put: Callable[..., None]
    ) -> None:
        put(mark_encrypted(pack({"a": b"a", "b": b"b"}), "b"))

        told = deliver(s3_put(source, ARCHIVE))
        place = f"s3://{source}/{ARCHIVE}"
        assert told.startswith(
            f"FilesFailed: 1 of 1 failed: {place}: InputError: {place}!/b: it is encrypted"
        )
        assert "1 of the item's 2 files failed" in told
        assert deliver(sqs(s3_put(source, ARCHIVE))) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        [result] = deliver(s3_batch(source, ARCHIVE))["results"]
        assert result["resultCode"] == "PermanentFailure"
        assert objects(s3, target) == {"out/in/2026/a": b"a"}

    def test_a_retry_unpacks_the_rest(
        self, deliver: Deliver, lab: LabS3, s3: Any, source: str, target: str, put: Callable[..., None]
    ) -> None:
        """The first invocation has no time for all files. One of them is encrypted."""
        files = {f"{number:02d}": bytes([number]) * 200_000 for number in range(40)}
        put(mark_encrypted(pack(files, zipfile.ZIP_STORED), "00"))
        lab.set_faults([Fault("stall", "PutObject", key="*/2?", seconds=3600)])
        [result] = deliver(s3_batch(source, ARCHIVE), seconds=3)["results"]
        lab.set_faults([])

        done = objects(s3, target)
        assert 0 < len(done) < len(files) - 1
        assert result["resultCode"] == "TemporaryFailure"
        [result] = deliver(s3_batch(source, ARCHIVE))["results"]
        assert (result["resultCode"], result["resultString"][:12]) == ("PermanentFailure", "InputError: ")
        del files["00"]
        assert lab.stats()["operations"]["PutObject"] == len(files) - len(done)
        assert objects(s3, target) == under("out/in/2026/", files)

    def test_an_event_that_names_a_destination_copies(
        self, deliver: Deliver, s3: Any, source: str, target: str
    ) -> None:
        place = f"s3://{target}/out/copy.zip"
        file = {"source": f"s3://{source}/{ARCHIVE}", "destination": place}

        assert deliver({"Items": [file]})["copied"] == 1
        assert deliver({"files": [file]})["status"] == "copied"
        assert objects(s3, target) == {"out/copy.zip": pack()}

    def test_another_kind_of_archive_is_an_error(
        self, deliver: Deliver, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASYNCSTREAM_UNPACK", "rar")

        assert deliver(s3_put(source, ARCHIVE)).startswith(
            "ConfigError: ASYNCSTREAM_UNPACK='rar': set it to zip"
        )


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_without_unpack_an_archive_is_copied(
    deliver: Deliver, s3: Any, source: str, target: str, trigger: str
) -> None:
    deliver(triggers(source, ARCHIVE)[trigger])

    assert objects(s3, target) == {f"out/{ARCHIVE}": pack()}
