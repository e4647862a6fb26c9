"""Direct events that ask for the files of an archive."""

import gzip
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.handlers.deliveries import Deliver
from tests.handlers.invocations import Invoke

from .packing import ARCHIVE, FILES, LARGE, MANY, STALLED, mark_encrypted, objects, pack, under


def test_its_archive_is_unpacked(invoke: Invoke, s3: Any, source: str, target: str) -> None:
    reply = invoke({"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/x/"})

    assert (reply["status"], reply["totals"]["copied"]) == ("copied", len(FILES))
    assert reply["totals"]["bytes"] == sum(map(len, FILES.values()))
    assert objects(s3, target) == under("x/")


def test_it_selects_and_decodes_names_and_reports(
    invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None]
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


def test_its_files_become_gzip_files(invoke: Invoke, s3: Any, source: str, target: str) -> None:
    event = {"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/", "as_gzip": True}

    assert invoke(event)["status"] == "copied"
    found = {key: gzip.decompress(body) for key, body in objects(s3, target).items()}
    assert found == {f"{name}.gz": body for name, body in FILES.items()}


def test_an_encrypted_file_fails_alone(
    invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None]
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
    invoke: Invoke, source: str, target: str, key: str, kind: str, message: str
) -> None:
    reply = invoke({"unzip": f"s3://{source}/{key}", "destination": f"s3://{target}/"})

    assert (reply["status"], reply["error"]["type"]) == ("rejected", kind)
    assert message in reply["error"]["message"]
    assert f"s3://{source}/{key}" in reply["error"]["message"]


def test_it_is_unpacked_beside_other_files(invoke: Invoke, s3: Any, source: str, target: str) -> None:
    archive = {"source": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/x/"}
    plain = {"source": f"s3://{source}/in/plain.csv", "destination": f"s3://{target}/p"}
    reply = invoke({"files": [archive | {"entries": {"select": "empty"}}, plain]})

    assert reply["status"] == "copied"
    assert objects(s3, target) == {"x/empty": b"", "p": b"plain"}


def test_what_it_has_no_time_for_is_one_row_that_continues(
    invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None], faulty: Callable[..., None]
) -> None:
    put(pack(MANY, zipfile.ZIP_STORED))
    faulty(STALLED)
    event = {"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/", "select": "*"}
    first = invoke(event, seconds=3)
    faulty([])

    done = objects(s3, target)
    assert 0 < len(done) < len(MANY)
    assert (first["status"], first["totals"]["pending"]) == ("pending", len(MANY) - len(done))
    [left] = first["pending"]
    assert (left["source"], left["destination"]) == (event["unzip"], event["destination"])
    assert len(json.dumps(left)) < 400
    assert "pending_omitted" not in first

    second = invoke({"files": first["pending"]})
    assert (second["status"], second["totals"]["copied"]) == ("copied", len(MANY) - len(done))
    assert objects(s3, target) == MANY

    put(pack(MANY | {"00": b""}, zipfile.ZIP_STORED))
    third = invoke({"files": first["pending"]})
    assert third["status"] == "rejected"
    assert "was overwritten" in third["error"]["message"]


def test_a_large_file_in_it_is_continued(
    invoke: Invoke,
    lab: LabS3,
    s3: Any,
    source: str,
    target: str,
    put: Callable[..., None],
    faulty: Callable[..., None],
    short_parts: None,
) -> None:
    put(pack(LARGE, zipfile.ZIP_STORED))
    faulty([Fault("stall", "UploadPart", part_number=3, seconds=3600)])
    event = {"unzip": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/"}
    first = invoke(event, seconds=4)
    faulty([])

    [left] = first["pending"]
    assert left["entries"]["started"].keys() == {"large"}
    second = invoke({"files": [left]})
    assert (second["status"], second["totals"]["pending"]) == ("copied", 0)
    assert "CreateMultipartUpload" not in lab.stats()["operations"]
    assert objects(s3, target) == LARGE

    wrong = left["entries"] | {"started": {"other": left["entries"]["started"]["large"]}}
    third = invoke({"files": [left | {"entries": wrong}]})
    assert (third["status"], third["error"]["type"]) == ("rejected", "InputError")


def test_a_deployed_function_unpacks_within_its_prefixes(
    deliver: Deliver, lab: LabS3, source: str, target: str
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
