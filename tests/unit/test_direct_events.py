"""Direct events and their replies: reading, checking, writing, and the JSON schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncstream.events
from asyncstream.errors import AccessDenied, InputError, ServiceBusy
from asyncstream.events import direct, direct_reply
from asyncstream.events.handler_replies import Invoked
from asyncstream.locations import MAX_KEY_BYTES, Concat, Pack, S3Object, S3Prefix, Tar, ZipEntries
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.results import FileResult, FileResults, TransferReport

COMMITTED = Path(asyncstream.events.__file__).with_name("schema.json")
LARGEST_REPLY = 256 * 1024
INVOKED = Invoked("8476a536-e9f4-11e8-9739-2dfe598c3fcd", 0.25)

PAIR = {"source": "s3://raw/a", "destination": "s3://clean/a"}
BY_PREFIX = {"source_prefix": "s3://raw/in/", "destination": "s3://clean/out/"}
UNZIP = {"unzip": "s3://raw/a.zip", "destination": "s3://clean/out/"}
PACK = {"concat": ["s3://raw/a", "s3://raw/b"], "destination": "s3://clean/ab"}

GOOD = [
    {"files": [PAIR]},
    {"files": [PAIR | {"version_id": "v1"}, {"source": "s3://raw/b", "destination": "s3://clean/b"}]},
    BY_PREFIX,
    BY_PREFIX | {"config": {}, "report_uri": "s3://clean/report.json"},
    BY_PREFIX | {"config": {"multipart": True, "part_size": "auto", "deadline": None, "stall_timeout": 5}},
    BY_PREFIX | {"config": {"part_size": 5 * 2**20, "extra_args": {"ACL": "private"}}, "files": None},
    UNZIP,
    UNZIP | {"select": "*.csv", "encoding": "cp932", "version_id": "v1", "report_uri": "s3://clean/r.json"},
    {"files": [PAIR, {"source": "s3://raw/a.zip", "destination": "s3://clean/out/", "entries": {}}]},
    PACK | {"separator": "\n", "header": None},
    {"untar": "s3://raw/a.tgz", "destination": "s3://clean/", "select": "*.csv", "version_id": "v1"},
    PACK | {"header": "first", "report_uri": "s3://clean/r.json"},
    {"tar": "s3://raw/in/", "destination": "s3://clean/in.tar", "continuation": None},
    {"zip": "s3://raw", "destination": "s3://clean/raw.zip", "if_missing": "leave_out"},
]

# Events that the schema and the handler refuse: where each is wrong, and part of the message.
MALFORMED: list[tuple[Any, str, str]] = [
    ([], "$", "Expected `object`, got `array`"),
    (None, "$", "Expected `object`, got `null`"),
    ({"files": [PAIR], "dry_run": True}, "$", "unknown field `dry_run`"),
    ({"files": PAIR}, "$.files", "Expected `array | null`, got `object`"),
    ({"files": []}, "$.files", "length >= 1"),
    ({"files": [PAIR, []]}, "$.files[1]", "Expected `object`, got `array`"),
    ({"files": [PAIR, {"source": "s3://raw/b"}]}, "$.files[1]", "missing required field `destination`"),
    ({"files": [PAIR | {"target": "x"}]}, "$.files[0]", "unknown field `target`"),
    ({"files": [PAIR | {"source": 5}]}, "$.files[0].source", "Expected `str`, got `int`"),
    ({"files": [PAIR | {"source": "/tmp/a"}]}, "$.files[0].source", "'/tmp/a' is not an S3 URI"),
    ({"files": [PAIR | {"version_id": 1}]}, "$.files[0].version_id", "Expected `str | null`, got `int`"),
    (BY_PREFIX | {"source_prefix": "raw/in/"}, "$.source_prefix", "'raw/in/' is not an S3 URI"),
    (BY_PREFIX | {"destination": 1}, "$.destination", "got `int`"),
    (UNZIP | {"unzip": "/tmp/a.zip"}, "$.unzip", "'/tmp/a.zip' is not an S3 URI"),
    ({"tar": [], "destination": "s3://clean/a.tar"}, "$.tar", "length >= 1"),
    ({"tar": ["a"], "destination": "s3://clean/a.tar"}, "$.tar[0]", "'a' is not an S3 URI"),
    (PACK | {"header": "last"}, "$.header", "Invalid enum value 'last'"),
    (PACK | {"continuation": {"upload_id": "u"}}, "$.continuation", "missing required field"),
    (UNZIP | {"select": ""}, "$.select", "length >= 1"),
    (UNZIP | {"select": ["*.csv"]}, "$.select", "got `array`"),
    ({"files": [PAIR | {"entries": {"password": "x"}}]}, "$.files[0].entries", "unknown field `password`"),
    (BY_PREFIX | {"report_uri": "r.json"}, "$.report_uri", "'r.json' is not an S3 URI"),
    (BY_PREFIX | {"config": None}, "$.config", "Expected `object`, got `null`"),
    (BY_PREFIX | {"config": {"partsize": 1}}, "$.config", "unknown field `partsize`"),
    (BY_PREFIX | {"config": {"part_size": 1}}, "$.config.part_size", ">= 5242880"),
    (BY_PREFIX | {"config": {"part_size": "big"}}, "$.config.part_size", 'to 5 GiB (5368709120), or "auto"'),
    (BY_PREFIX | {"config": {"max_concurrency": 0}}, "$.config.max_concurrency", ">= 1"),
    (BY_PREFIX | {"config": {"max_concurrency": True}}, "$.config.max_concurrency", "got `bool`"),
    (BY_PREFIX | {"config": {"multipart": "false"}}, "$.config.multipart", "Expected `bool`, got `str`"),
    (BY_PREFIX | {"config": {"deadline": 0}}, "$.config.deadline", "> 0"),
    (BY_PREFIX | {"config": {"stall_timeout": 16}}, "$.config.stall_timeout", "<= 15"),
    (BY_PREFIX | {"config": {"extra_args": []}}, "$.config.extra_args", "Expected `object`, got `array`"),
]

# Events that the schema accepts and the handler refuses.
BEYOND_THE_SCHEMA = [
    (
        {},
        "one of `files`, `source_prefix`, `unzip`, `untar`, `tar`, `zip`, `concat`: it has none of them",
    ),
    ({"source_prefix": "s3://raw/in/"}, "has `source_prefix`: it must have `destination`, too"),
    ({"unzip": "s3://raw/a.zip"}, "has `unzip`: it must have `destination`, too"),
    ({"destination": "s3://clean/out/"}, "it has none of them"),
    ({"files": [PAIR]} | BY_PREFIX, "it has `files`, `source_prefix`"),
    (UNZIP | BY_PREFIX, "it has `source_prefix`, `unzip`"),
    ({"files": [PAIR], "destination": "s3://clean/"}, "has `files`: leave out `destination`"),
    ({"files": [PAIR], "select": "*.csv"}, "has `files`: leave out `select`, which is for `unzip`, `untar`"),
    (
        BY_PREFIX | {"version_id": "v1"},
        "has `source_prefix`: leave out `version_id`, which is for `unzip`, `untar`",
    ),
    (UNZIP | {"encoding": "none"}, "at $.encoding: encoding 'none' of s3://raw/a.zip is unknown"),
    (UNZIP | {"destination": "s3://clean/out"}, "end the prefix with a slash"),
    (UNZIP | {"report_uri": "s3://raw/a.zip"}, "at $.report_uri: s3://raw/a.zip is one of the files"),
    (PACK | {"separator": ",", "header": "first"}, "at $.separator: separator: with header"),
    (PACK | {"separator": "," * 5000}, "must be bytes, at most 4,096 of them"),
    ({"tar": "s3://raw/", "destination": "s3://clean"}, "at $.destination: 's3://clean' names no object"),
    ({"tar": "s3://raw/", "destination": "s3://c-d/a", "header": "first"}, "which is for `concat`"),
    ({"tar": ["s3://raw"], "destination": "s3://clean/a"}, "at $.tar[0]: 's3://raw' names no object"),
    ({"tar": ["s3://raw/a"], "destination": "s3://raw/a"}, "s3://raw/a cannot be made of itself"),
    (PACK | {"report_uri": "s3://raw/b"}, "at $.report_uri: s3://raw/b is one of the files"),
    (PACK | {"report_uri": "s3://clean/ab"}, "at $.report_uri: s3://clean/ab is one of the files"),
    ({"untar": "s3://raw/a", "destination": "s3://c-d/", "encoding": "x"}, "which is for `unzip`"),
    ({"untar": "s3://raw/a", "destination": "s3://c-d/", "report_uri": "s3://raw/a"}, "one of the files"),
    (UNZIP | {"if_missing": "fail"}, "which is for `tar`, `zip`, `concat`"),
    (PACK | {"select": "*"}, "has `concat`: leave out `select`"),
    ({"files": [PAIR | {"entries": {}}]}, "end the prefix with a slash"),
    ({"files": [PAIR | {"entries": {"encoding": "x"}}]}, "at $.files[0].entries: encoding 'x'"),
    (BY_PREFIX | {"config": {"extra_args": {"Body": 1}}}, "at $.config: extra_args Body: not supported"),
    ({"files": [PAIR, PAIR | {"source": "s3://raw"}]}, "at $.files[1].source: 's3://raw' names no object"),
    ({"files": [PAIR | {"destination": "s3://c/a"}]}, "at $.files[0].destination: bucket 'c'"),
    ({"files": [PAIR, PAIR]}, "files[1]: the destination s3://clean/a is named twice"),
    ({"files": [PAIR | {"destination": "s3://raw/a"}]}, "files[0]: source and destination are the same"),
    ({"source_prefix": "s3://raw/in/", "destination": "s3://raw/in/"}, "source and destination are the same"),
    (BY_PREFIX | {"report_uri": "s3://clean"}, "at $.report_uri: 's3://clean' names no object"),
]


def check(event: Any) -> direct.DirectEvent:
    """Check an event as a handler does before any I/O."""
    read = direct.read_event(event)
    direct.report_location(read, direct.event_pairs(read))
    return read


def validator(definition: str) -> jsonschema.Draft202012Validator:
    whole = direct_reply.schema()
    return jsonschema.Draft202012Validator(whole | {"$ref": f"#/$defs/{definition}"})


@pytest.fixture(scope="module")
def event_schema() -> jsonschema.Draft202012Validator:
    return validator("DirectEvent")


@pytest.fixture(scope="module")
def reply_schema() -> jsonschema.Draft202012Validator:
    return validator("DirectReply")


@pytest.mark.parametrize("event", GOOD)
def test_a_good_event_is_read_and_valid_by_the_schema(
    event: dict[str, Any], event_schema: jsonschema.Draft202012Validator
) -> None:
    event_schema.validate(event)
    read = check(event)

    assert (read.files is None) == (event.get("files") is None)
    assert read.report_uri == event.get("report_uri")


@pytest.mark.parametrize(("event", "path", "message"), MALFORMED)
def test_a_malformed_event_is_refused_by_schema_and_check(
    event: Any, path: str, message: str, event_schema: jsonschema.Draft202012Validator
) -> None:
    """The error names the path."""
    assert not event_schema.is_valid(event)
    with pytest.raises(InputError) as raised:
        check(event)
    assert str(raised.value).startswith(f"the event is malformed at {path}: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(("event", "message"), BEYOND_THE_SCHEMA)
def test_an_event_that_contradicts_itself_is_named(event: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        check(event)
    assert message in str(raised.value)


URIS = st.sampled_from(["s3://raw/a", "s3://raw", "raw/a", "", "S3://raw/a"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 6 * 2**20),
    st.floats(allow_nan=False),
    URIS,
    st.text(max_size=3),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
FILES = st.lists(
    st.fixed_dictionaries({"source": URIS, "destination": URIS}, optional={"version_id": ANYTHING})
)
CONFIGS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(TransferConfig.__struct_fields__, ANYTHING) | {"unknown": st.none()}
)
EVENTS = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {},
        optional={
            "files": FILES | ANYTHING,
            "source_prefix": URIS,
            "unzip": URIS,
            "select": ANYTHING,
            "tar": URIS | ANYTHING,
            "header": ANYTHING,
            "destination": URIS,
            "config": CONFIGS | ANYTHING,
            "report_uri": URIS | ANYTHING,
            "more": st.none(),
        },
    ),
)


@settings(max_examples=100)
@given(EVENTS)
def test_what_the_schema_refuses_we_refuse(event_schema: jsonschema.Draft202012Validator, event: Any) -> None:
    try:
        check(event)
    except InputError:
        return
    event_schema.validate(event)


@pytest.mark.parametrize(
    ("event", "pairs"),
    [
        (
            {"files": [PAIR | {"version_id": "v1"}]},
            [(S3Object("raw", "a", "v1"), S3Object("clean", "a"))],
        ),
        (BY_PREFIX, [(S3Prefix("raw", "in/"), S3Prefix("clean", "out/"))]),
        (
            {"source_prefix": "s3://raw", "destination": "s3://clean"},
            [(S3Prefix("raw"), S3Prefix("clean"))],
        ),
        (UNZIP, [(ZipEntries(S3Object("raw", "a.zip")), S3Prefix("clean", "out/"))]),
        (
            UNZIP | {"version_id": "v1", "select": "*.csv", "encoding": "cp932"},
            [(ZipEntries(S3Object("raw", "a.zip", "v1"), "*.csv", "cp932"), S3Prefix("clean", "out/"))],
        ),
        (
            PACK | {"separator": "é"},
            [
                (
                    Pack(
                        (S3Object("raw", "a"), S3Object("raw", "b")),
                        Concat(S3Object("clean", "ab"), "é".encode()),
                    ),
                    S3Object("clean", "ab"),
                )
            ],
        ),
        (
            {"tar": "s3://raw/in/", "destination": "s3://clean/a", "if_missing": "leave_out"},
            [
                (
                    Pack(S3Prefix("raw", "in/"), Tar(S3Object("clean", "a"), "leave_out")),
                    S3Object("clean", "a"),
                )
            ],
        ),
        (
            {"files": [{"source": "s3://raw/a", "destination": "s3://b-c", "entries": {"select": "b"}}]},
            [(ZipEntries(S3Object("raw", "a"), "b"), S3Prefix("b-c"))],
        ),
    ],
)
def test_an_event_names_what_to_copy(event: dict[str, Any], pairs: list[Any]) -> None:
    assert direct.event_pairs(direct.read_event(event)) == pairs


def test_an_event_overrides_only_the_settings_it_names() -> None:
    """It may reset a setting to its default."""
    own = TransferConfig(multipart=True, max_concurrency=3, part_size=8 * 2**20)
    event = BY_PREFIX | {"config": {"multipart": False, "max_attempts": 2}}

    config = own.override(direct.named_settings(event, direct.read_event(event)))

    assert config == TransferConfig(multipart=False, max_concurrency=3, part_size=8 * 2**20, max_attempts=2)


def test_an_event_without_config_leaves_the_functions_own() -> None:
    assert direct.named_settings(BY_PREFIX, direct.read_event(BY_PREFIX)) == {}


def copied(key: str = "a", size: int = 5) -> FileResult:
    return FileResult(S3Object("raw", key), S3Object("clean", key), "copied", size, '"e"', 1, 1, 0.12345)


def failed(key: str = "a", message: str = "slow down") -> FileResult:
    error = ServiceBusy(message)
    return FileResult(S3Object("raw", key), S3Object("clean", key), "failed", 0, None, 0, 4, 0.5, error)


def report(files: Sequence[FileResult]) -> TransferReport:
    return TransferReport("threads", FileResults.of(files), 1.23456, 4, 64_000_000, {"GetObject": 4})


def sent(reply: direct_reply.DirectReply) -> dict[str, Any]:
    """Return a reply as Lambda sends it."""
    whole: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(reply)))
    return whole


@pytest.mark.parametrize(
    ("files", "status", "counts"),
    [
        ([copied(), copied("b")], "copied", (2, 2, 0)),
        ([copied(), failed("b")], "partial", (2, 1, 1)),
        ([failed(), failed("b")], "failed", (2, 0, 2)),
    ],
)
def test_a_reply_has_status_totals_and_failures(
    files: list[FileResult],
    status: str,
    counts: tuple[int, int, int],
    reply_schema: jsonschema.Draft202012Validator,
) -> None:
    reply = sent(direct_reply.reply_to(report(files), INVOKED))

    reply_schema.validate(reply)
    assert reply["status"] == status
    assert (reply["request_id"], reply["totals"]["cpu_seconds"]) == (INVOKED.request_id, 0.25)
    totals = reply["totals"]
    assert (totals["files"], totals["copied"], totals["failed"]) == counts
    assert (totals["bytes"], totals["seconds"]) == (5 * counts[1], 1.235)
    assert (totals["slots"], totals["memory_limit"], totals["requests"]) == (4, 64_000_000, {"GetObject": 4})
    assert [row["source"] for row in reply.get("failures", [])] == [
        file.source.uri for file in files if file.status == "failed"
    ]
    assert "failures_omitted" not in reply


def test_a_report_has_the_bytes_read_and_the_bytes_made() -> None:
    made = msgspec.structs.replace(copied(), made=12)
    rows = json.loads(direct_reply.report_document(report([copied(), made])))["files"]
    assert [(row["bytes"], row.get("made")) for row in rows] == [(5, None), (5, 12)]


def test_a_failure_has_class_message_notes_and_no_traceback() -> None:
    result = failed("b", "slow down")
    assert result.error is not None
    result.error.add_note("upload u could not be aborted")

    [row] = sent(direct_reply.reply_to(report([result]), INVOKED))["failures"]

    assert row["error"] == {"type": "ServiceBusy", "message": "slow down; upload u could not be aborted"}
    assert (row["source"], row["destination"], row["attempts"]) == ("s3://raw/b", "s3://clean/b", 4)


def test_a_reply_names_its_report_or_why_it_was_not_written(
    reply_schema: jsonschema.Draft202012Validator,
) -> None:
    written = sent(direct_reply.reply_to(report([copied()]), INVOKED, "s3://clean/r.json"))
    denied = sent(direct_reply.reply_to(report([copied()]), INVOKED, "s3://clean/r.json", AccessDenied("no")))

    reply_schema.validate(written)
    reply_schema.validate(denied)
    assert (written["report_uri"], written.get("error")) == ("s3://clean/r.json", None)
    assert (denied.get("report_uri"), denied["error"]) == (None, {"type": "AccessDenied", "message": "no"})
    assert denied["status"] == "copied"


def test_a_rejection_is_a_reply_of_its_own(reply_schema: jsonschema.Draft202012Validator) -> None:
    reply = sent(direct_reply.rejected(InputError("no such thing"), "asyncio"))

    reply_schema.validate(reply)
    assert reply == {
        "status": "rejected",
        "engine": "asyncio",
        "error": {"type": "InputError", "message": "no such thing"},
    }


@settings(max_examples=15)
@given(
    character=st.sampled_from('aé€😀\x01"\\'),
    key_bytes=st.integers(7, MAX_KEY_BYTES),
    count=st.integers(0, 1500),
    message=st.integers(0, 5000),
)
def test_a_reply_stays_under_256_kb_and_counts_omissions(
    character: str, key_bytes: int, count: int, message: int
) -> None:
    """It counts the files that it leaves out."""
    key = (character * MAX_KEY_BYTES)[: (key_bytes - 6) // len(character.encode())]
    results = [failed(f"{number:05}-{key}", character * message) for number in range(count)]

    reply = msgspec.to_builtins(direct_reply.reply_to(report(results), INVOKED))

    # Encoded as Lambda's Python runtimes from 3.12 on do, and as Step Functions counts a state.
    assert len(json.dumps(reply, ensure_ascii=False).encode()) < LARGEST_REPLY
    assert_all_are_counted(reply, results)


@pytest.mark.parametrize("character", "aé😀")
def test_5000_failures_stay_under_256_kb_in_ascii_json(character: str) -> None:
    """The supported runtime python3.11 encodes replies in ASCII."""
    key = character * (1000 // len(character.encode()))
    results = [failed(f"{number:05}-{key}", f"GetObject {key}") for number in range(5000)]

    reply = msgspec.to_builtins(direct_reply.reply_to(report(results), INVOKED))

    size = len(json.dumps(reply).encode())
    assert size < LARGEST_REPLY
    assert_all_are_counted(reply, results)


def assert_all_are_counted(reply: dict[str, Any], results: Sequence[FileResult]) -> None:
    shown = reply.get("failures", [])
    assert [row["source"] for row in shown] == [result.source.uri for result in results[: len(shown)]]
    assert len(shown) + reply.get("failures_omitted", 0) == len(results)
    assert bool(shown) == bool(results)


class Counting(Sequence[Job]):
    """A number of files that no transfer has started; counts how often one is read."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.looked_at = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: Any) -> Any:
        self.looked_at += 1
        return Job(S3Object("raw", f"key-{position}"), S3Object("clean", f"key-{position}"))


def test_a_reply_makes_only_the_pending_rows_that_fit() -> None:
    """After the deadline: reading 100,000 files takes 7 s in a 128 MB function, which has 2 s left."""
    files = Counting(100_000)
    results = FileResults(files)
    results.end_from(0)

    reply = direct_reply.reply_to(TransferReport("threads", results, 1.0, 4, 1000, {}), INVOKED)

    assert len(reply.pending) + reply.pending_omitted == 100_000
    assert files.looked_at == len(reply.pending) + 1


def test_the_report_lists_every_file_as_the_schema_describes_it() -> None:
    files = [copied(), failed("b")]

    with pytest.raises(InputError, match=r"report of 2 files was not written: .* more memory"):
        direct_reply.report_document(report(files), room=100)
    document = json.loads(direct_reply.report_document(report(files)))

    assert document["engine"] == "threads"
    assert [row["status"] for row in document["files"]] == ["copied", "failed"]
    rows = validator("FileReply")
    for row in document["files"]:
        rows.validate(row)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(direct_reply.schema())


def test_the_committed_schema_is_that_of_the_types() -> None:
    assert COMMITTED.exists(), "run `make schema`"
    assert json.loads(COMMITTED.read_text()) == json.loads(json.dumps(direct_reply.schema())), (
        "run `make schema`"
    )
