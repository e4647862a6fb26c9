"""A deployed function only touches objects that its deployment allows, even if an event asks for others."""

from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3

from .deliveries import Deliver
from .trigger_events import object_created, s3_batch, s3_put, sqs


class TestOutsideTheDeployment:
    @pytest.mark.parametrize(
        "event",
        [
            s3_put("elsewhere", "in/000000"),
            object_created("elsewhere", "in/000000"),
        ],
    )
    def test_no_other_bucket_is_read(self, deliver: Deliver, lab: LabS3, event: Any) -> None:
        assert "is outside s3://source-" in deliver(event)
        assert lab.stats()["operations"] == {}

    def test_nothing_else_is_written(self, deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
        place = f"s3://{target}/elsewhere"
        file = {"source": f"s3://{source}/in/000000", "destination": place}
        messages = [
            deliver({"files": [file]})["error"]["message"],
            deliver({"source_prefix": f"s3://{source}/", "destination": place})["error"]["message"],
            deliver({"files": [file | {"destination": f"s3://{target}/out/a"}], "report_uri": place})[
                "error"
            ]["message"],
        ]

        assert all(f"{place} is outside s3://{target}/out/" in text for text in messages)
        assert lab.stats()["operations"] == {}

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "/etc/passwd", "http://169.254.169.254/", "-"])
    def test_an_event_reaches_no_files_and_no_urls(
        self, deliver: Deliver, lab: LabS3, source: str, target: str, place: str
    ) -> None:
        there = {"source": f"s3://{source}/in/000000", "destination": f"s3://{target}/out/a"}
        for files in ([there | {"source": place}], [there | {"destination": place}]):
            assert "is not an S3 URI" in deliver({"files": files})["error"]["message"]
        assert lab.stats()["operations"] == {}

    @pytest.mark.parametrize("named", ["os:system", "builtins:exec", "gzip,os:getcwd", "json:codecs.open"])
    def test_no_function_is_run_that_is_not_deployed_for_it(
        self, deliver: Deliver, lab: LabS3, source: str, target: str, named: str
    ) -> None:
        """Otherwise a sender of messages or a writer of objects could run the content as a program."""
        files = [{"source": f"s3://{source}/in/000000", "destination": f"s3://{target}/out/a"}]
        event = {"files": files, "config": {"transform": named}}

        assert "an event may not name the transform" in deliver(event)["error"]["message"]
        assert deliver(sqs(event)) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert lab.stats()["operations"] == {}

    @pytest.mark.parametrize("variable", ["DEPLOYED_TRANSFORMS", "ASYNCSTREAM_TRANSFORM"])
    def test_a_function_that_is_deployed_for_it_may_be_named(
        self, deliver: Deliver, source: str, target: str, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, "unzstd,bz2:compress")
        files = [{"source": f"s3://{source}/in/000000", "destination": f"s3://{target}/out/a"}]

        event = {"files": files, "config": {"transform": "bz2:compress,gzip"}}
        assert deliver(event)["status"] == "copied"

    @pytest.mark.parametrize("written", ["in/", "", "in/deeper/", "i"])
    def test_a_function_does_not_invoke_itself(
        self, deliver: Deliver, source: str, monkeypatch: pytest.MonkeyPatch, written: str
    ) -> None:
        monkeypatch.setenv("DEPLOYED_DESTINATION", f"s3://{source}/{written}")
        prefixes = {"source_prefix": f"s3://{source}/big/", "destination": f"s3://{source}/{written}"}

        assert "is where a new object invokes this function" in deliver(prefixes)["error"]["message"]
        if written != "i":  # a single object's destination is known: it lies beside the trigger's prefix
            messages = deliver(s3_put(source, "in/000000"))
            assert (
                "is where a new object invokes" in messages
                or "source and destination are the same" in messages
            )

    def test_beside_the_triggers_prefix_the_same_bucket_is_written(
        self, deliver: Deliver, lab: LabS3, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEPLOYED_DESTINATION", f"s3://{source}/clean/")

        assert deliver(s3_put(source, "in/000000")) == {"copied": 1, "bytes": 1000}
        assert "clean/in/000000" in lab.checksums(source)

    def test_without_a_destination_triggers_name_the_variable(
        self, deliver: Deliver, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DEPLOYED_DESTINATION")

        for event in (s3_put(source, "in/000000"), s3_batch(source, "in/000000")):
            assert "set DEPLOYED_DESTINATION, such as s3://clean/" in deliver(event)

    def test_a_deployment_that_cannot_be_read_is_reported(
        self, deliver: Deliver, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEPLOYED_SOURCE", "raw")

        assert "DEPLOYED_SOURCE='raw': 'raw' is not an S3 URI" in deliver(s3_put(source, "in/000000"))
