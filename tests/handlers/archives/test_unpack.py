"""Functions that unpack new archives: the parameter `Unpack` of the template."""

import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from tests.handlers.deliveries import Deliver
from tests.handlers.trigger_events import object_created, s3_batch, s3_put, sqs

from .packing import ARCHIVE, FILES, MANY, STALLED, mark_encrypted, objects, pack, under


def triggers(source: str, key: str) -> dict[str, Any]:
    return {
        "s3": s3_put(source, key),
        "eventbridge": object_created(source, key),
        "sqs": sqs(s3_put(source, key)),
        "s3-batch": s3_batch(source, key),
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
        self,
        deliver: Deliver,
        lab: LabS3,
        s3: Any,
        source: str,
        target: str,
        put: Callable[..., None],
        faulty: Callable[..., None],
    ) -> None:
        """The first invocation has no time for all files. One of them is encrypted."""
        files = dict(MANY)
        put(mark_encrypted(pack(files, zipfile.ZIP_STORED), "00"))
        faulty(STALLED)
        [result] = deliver(s3_batch(source, ARCHIVE), seconds=3)["results"]
        faulty([])

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
