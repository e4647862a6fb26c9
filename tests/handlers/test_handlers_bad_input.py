"""Wrong events and settings: each function says clearly what is wrong, without a request to S3."""

from typing import Any

import pytest

from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import LabS3

from .invocations import Invoke

FILE = {"source": "s3://raw/a", "destination": "s3://clean/a"}


def files(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an event with one good file and one file for each of the changes to it."""
    return {"files": [FILE, *(FILE | change for change in changes)]} | more


BAD: dict[str, tuple[Any, str, str]] = {
    "no event": (None, "InputError", "at $: Expected `object`, got `null`"),
    "no form": (
        {},
        "InputError",
        "must have one of `files`, `source_prefix`, `unzip`, `untar`, `tar`, `zip`, `concat`",
    ),
    "two forms": (files(source_prefix="s3://raw/"), "InputError", "it has `files`, `source_prefix`"),
    "empty list": ({"files": []}, "InputError", "at $.files: Expected `array` of length >= 1"),
    "no URI": (files({"source": "raw/b"}), "InputError", "at $.files[1].source: 'raw/b' is not an S3 URI"),
    "no key": (
        files({"source": "s3://raw"}),
        "InputError",
        "at $.files[1].source: 's3://raw' names no object",
    ),
    "no bucket": (files({"destination": "s3:///b"}), "InputError", "at $.files[1].destination: bucket ''"),
    "key too long": (files({"source": "s3://raw/" + "k" * 1025}), "InputError", "has 1025 bytes"),
    "same place": (
        {"files": [{"source": "s3://raw/a", "destination": "s3://raw/a"}]},
        "InputError",
        "files[0]: source and destination are the same, s3://raw/a",
    ),
    "destination twice": (files({"source": "s3://raw/b"}), "InputError", "s3://clean/a is named twice"),
    "wrong type": (files({"source": 5}), "InputError", "at $.files[1].source: Expected `str`, got `int`"),
    "unknown field": (
        files({"target": "x"}),
        "InputError",
        "at $.files[1]: Object contains unknown field `target`",
    ),
    "unknown option": (files(dry_run=True), "InputError", "at $: Object contains unknown field `dry_run`"),
    "unknown setting": (
        files(config={"parts": 1}),
        "InputError",
        "at $.config: Object contains unknown field `parts`",
    ),
    "part too small": (
        files(config={"part_size": 5 * 2**20 - 1}),
        "InputError",
        "at $.config.part_size: Expected `int` >= 5242880 (bytes of a part, 5 MiB (5242880) to 5 GiB",
    ),
    "part too large": (
        files(config={"part_size": 5 * 2**30 + 1}),
        "InputError",
        "at $.config.part_size: Expected `int` <= 5368709120",
    ),
    "memory too small": (
        {"files": [FILE], "config": {"memory_limit": 1000}},
        "ConfigError",
        "memory_limit of 1000 bytes is too small: one part in flight takes",
    ),
    "report without key": ({"files": [FILE], "report_uri": "s3://clean"}, "InputError", "at $.report_uri: "),
}


@pytest.mark.parametrize(("event", "kind", "message"), BAD.values(), ids=BAD)
def test_a_bad_event_is_rejected_before_any_request(
    invoke: Invoke, function: str, lab: LabS3, event: Any, kind: str, message: str
) -> None:
    reply = invoke(event)

    assert set(reply) == {"status", "engine", "error"}
    assert (reply["status"], reply["engine"]) == ("rejected", function.removesuffix("_multipart"))
    assert reply["error"]["type"] == kind
    assert message in reply["error"]["message"]
    assert lab.stats()["operations"] == {}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ASYNCSTREAM_PART_SIZE", "8MB", "ASYNCSTREAM_PART_SIZE='8MB': "),
        ("ASYNCSTREAM_TRANSFORM", "lz4", "transform 'lz4' must be one of bunzip2, gunzip"),
        (
            "ASYNCSTREAM_TRANSFORM",
            "no_module:f",
            "transform 'no_module:f' cannot be imported: ModuleNotFound",
        ),
        ("ASYNCSTREAM_PARTSIZE", "auto", "ASYNCSTREAM_PARTSIZE is not a setting"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1", "the function's 1 MB leave no memory for a transfer"),
    ],
)
def test_a_bad_environment_is_rejected_before_any_request(
    invoke: Invoke, lab: LabS3, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)

    reply = invoke({"files": [FILE]})

    assert (reply["status"], reply["error"]["type"]) == ("rejected", "ConfigError")
    assert message in reply["error"]["message"]
    assert lab.stats()["operations"] == {}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("AWS_CA_BUNDLE", "AWS_CA_BUNDLE='/absent' cannot be used to verify servers: No such file"),
        ("AWS_PROFILE", "The config profile (/absent) could not be found. Check AWS_PROFILE"),
    ],
)
def test_a_wrong_setting_of_aws_is_rejected_with_its_cause(
    invoke: Invoke, lab: LabS3, monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    close_all_kept()  # a warm function has clients already
    monkeypatch.setenv(variable, "/absent")

    reply = invoke({"files": [FILE]})

    assert (reply["status"], reply["error"]["type"]) == ("rejected", "ConfigError")
    assert message in reply["error"]["message"]
    assert lab.stats()["operations"] == {}


@pytest.mark.parametrize(
    ("bucket", "prefix", "kind", "message"),
    [
        ("", "nothing/", "NothingToTransfer", "nothing is stored under s3://{source}/nothing/"),
        ("no-such-bucket", "in/", "BucketNotFound", "no bucket 'no-such-bucket'"),
    ],
)
def test_a_prefix_without_objects_is_rejected_once_listed(
    invoke: Invoke, lab: LabS3, source: str, bucket: str, prefix: str, kind: str, message: str
) -> None:
    reply = invoke({"source_prefix": f"s3://{bucket or source}/{prefix}", "destination": "s3://clean/"})

    assert (reply["status"], reply["error"]["type"]) == ("rejected", kind)
    assert message.format(source=source) in reply["error"]["message"]
    assert lab.stats()["operations"] == {"ListObjectsV2": 1}
