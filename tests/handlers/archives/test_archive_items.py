"""Archives in items of a Distributed Map, and their slices."""

import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.events import slicing
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.handlers.deliveries import Deliver

from .packing import ARCHIVE, FILES, LARGE, MANY, STALLED, mark_encrypted, objects, pack, under


def test_a_selection_is_unpacked_to_the_archives_folder(
    deliver: Deliver, s3: Any, source: str, target: str
) -> None:
    item = {"source": f"s3://{source}/{ARCHIVE}", "entries": {"select": "deep/*"}}
    reply = deliver({"Items": [item, {"source": f"s3://{source}/in/plain.csv"}]})

    assert (reply["copied"], reply["failed"], reply["Items"]) == (3, 0, [])
    deep = {name: body for name, body in FILES.items() if name.startswith("deep/")}
    assert objects(s3, target) == under("out/in/2026/", deep) | {"out/in/plain.csv": b"plain"}


def test_an_item_comes_back_with_the_files_that_failed(
    deliver: Deliver, lab: LabS3, source: str, target: str, put: Callable[..., None]
) -> None:
    put(mark_encrypted(pack({"a": b"a", "b": b"b", "c": b"c"}), "b"))
    item = {"source": f"s3://{source}/{ARCHIVE}", "destination": f"s3://{target}/out/x/", "entries": {}}
    first = deliver({"Items": [item]})

    assert (first["copied"], first["failed"], first["bytes"]) == (2, 1, 2)
    [left] = first["Items"]
    assert left["entries"]["slice"]["rows"] == "1"
    assert "2 of" not in first["errors"][0]["message"]
    put(mark_encrypted(pack({"a": b"a", "b": b"b", "c": b"c"}), "b"))  # the same object again
    second = deliver(first)
    assert (second["copied"], second["failed"], second["Items"]) == (2, 1, [left])
    assert "PutObject" not in lab.stats()["operations"]


def test_an_item_comes_back_with_the_files_that_are_pending(
    deliver: Deliver,
    lab: LabS3,
    s3: Any,
    source: str,
    target: str,
    put: Callable[..., None],
    faulty: Callable[..., None],
) -> None:
    put(pack(MANY, zipfile.ZIP_STORED))
    faulty(STALLED)
    item = {"source": f"s3://{source}/{ARCHIVE}", "entries": {}}
    first = deliver({"Items": [item]}, seconds=3)
    faulty([])

    done = objects(s3, target)
    assert (first["copied"], first["pending"], first["failed"]) == (len(done), 1, 0)
    assert 0 < len(done) < len(MANY)
    second = deliver(first)
    assert (second["copied"], second["pending"], second["Items"]) == (len(MANY), 0, [])
    assert lab.stats()["operations"]["PutObject"] == len(MANY) - len(done)
    assert objects(s3, target) == under("out/in/2026/", MANY)


def test_an_item_comes_back_with_the_parts_of_a_large_file(
    deliver: Deliver,
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
    first = deliver({"Items": [{"source": f"s3://{source}/{ARCHIVE}", "entries": {}}]}, seconds=4)
    faulty([])

    assert first["pending"] == 1
    [left] = first["Items"]
    assert left["entries"]["started"].keys() == {"large"}
    assert "continuation" not in left
    second = deliver(first)
    assert (second["copied"], second["pending"], second["failed"]) == (2, 0, 0)
    assert "CreateMultipartUpload" not in lab.stats()["operations"]
    assert objects(s3, target) == under("out/in/2026/", LARGE)


def test_an_item_of_an_archive_has_no_continuation(deliver: Deliver, source: str) -> None:
    later = {"upload_id": "u", "etag": '"e"', "size": 5, "first": 5, "step": 0}
    item = {"source": f"s3://{source}/{ARCHIVE}", "entries": {}, "continuation": later}
    reply = deliver({"Items": [item]})

    assert (reply["copied"], reply["failed"]) == (0, 1)
    assert "an archive has no continuation" in reply["errors"][0]["message"]


@pytest.fixture
def archive(put: Callable[..., None], source: str) -> str:
    put(pack({f"{number:03d}.txt": b"%d" % number for number in range(100)}))
    return f"s3://{source}/{ARCHIVE}"


def test_the_items_unpack_the_whole_archive(deliver: Deliver, s3: Any, target: str, archive: str) -> None:
    cut = deliver({"slices": archive, "slice_size": 30})

    assert cut["slices"] == len(cut["Items"]) == 4
    for item in cut["Items"]:
        assert len(json.dumps(item["entries"])) < 200
        reply = deliver(item)
        assert (reply["failed"], reply["pending"]) == (0, 0)
    assert len(objects(s3, target)) == 100
    assert objects(s3, target)["out/in/2026/099.txt"] == b"99"


def test_their_list_is_written(deliver: Deliver, s3: Any, source: str, target: str, archive: str) -> None:
    place = f"s3://{target}/out/many-files/slices.jsonl"
    event = {"slices": archive, "destination": f"s3://{target}/out/x/", "select": "09*", "slice_size": 6}
    inline, written = deliver(event), deliver(event | {"list_uri": place})

    assert written == {"slices": 2, "bucket": target, "key": "out/many-files/slices.jsonl"}
    lines = objects(s3, target)[written["key"]].splitlines()
    assert [json.loads(line) for line in lines] == inline["Items"]
    assert deliver({"Items": inline["Items"]})["copied"] == 10
    assert f"out/x/{99:03d}.txt" in objects(s3, target)


def test_they_are_of_one_version_of_the_archive(
    deliver: Deliver, target: str, archive: str, put: Callable[..., None]
) -> None:
    items = deliver({"slices": archive})["Items"]
    put(pack({"other": b""}))
    reply = deliver({"Items": items})

    assert ["was overwritten" in error["message"] for error in reply["errors"]] == [True]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"slice_size": 0}, "InputError: the event is malformed at $.slice_size: Expected `int` >= 1"),
        (
            {"slice_size": 1001},
            "InputError: the event is malformed at $.slice_size: Expected `int` <= 1000",
        ),
        ({"slices": "a.zip"}, "InputError: the event is malformed at $.slices: 'a.zip' is not an S3 URI"),
        ({"slices": "s3://elsewhere/a.zip"}, "InputError: s3://elsewhere/a.zip is outside s3://"),
        ({"list_uri": "s3://elsewhere/list"}, "InputError: s3://elsewhere/list is outside s3://"),
        ({"destination": "s3://elsewhere/"}, "InputError: s3://elsewhere/ is outside s3://"),
        ({"encoding": "x"}, "InputError: encoding 'x'"),
        (
            {"config": {}},
            "InputError: the event is malformed at $: Object contains unknown field `config`",
        ),
    ],
)
def test_a_wrong_event_is_an_error(deliver: Deliver, lab: LabS3, archive: str, more: Any, error: str) -> None:
    assert deliver({"slices": archive} | more).startswith(error)
    assert lab.stats()["operations"] == {}


def test_what_may_succeed_later_has_a_name_of_its_own(
    deliver: Deliver, source: str, archive: str, faulty: Callable[..., None]
) -> None:
    assert deliver({"slices": f"s3://{source}/in/none"}).startswith("SourceNotFound: ")
    faulty([Fault("refuse", "GetObject", status=503)])
    assert deliver({"slices": archive}).startswith("FilesFailedForNow: ")


def test_more_than_fit_need_a_list(
    deliver: Deliver, target: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slicing, "MAX_INLINE_BYTES", 1_000)
    told = deliver({"slices": archive, "slice_size": 1})

    assert "the 100 slices of" in told
    assert "name a `list_uri`" in told


def test_a_list_does_not_overwrite_its_archive(deliver: Deliver, lab: LabS3, archive: str) -> None:
    told = deliver({"slices": archive, "destination": archive.removesuffix("2026.zip"), "list_uri": archive})
    assert "InputError: " in told
    assert lab.stats()["operations"] == {}
