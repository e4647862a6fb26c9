"""Items and batches of a Distributed Map in the four functions that copy: copies, replies and errors."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from asyncstream.lab.s3 import LabS3

from .deliveries import ODD, Deliver, copied


def test_an_item_alone(deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
    assert deliver({"source": f"s3://{source}/in/000000"}) == {
        "copied": 1,
        "pending": 0,
        "bytes": 1000,
        "failed": 0,
        "left_out": {},
        "errors": [],
        "Items": [],
    }
    assert copied(lab, target) == {"in/000000"}


def test_a_batch_of_all_kinds_of_items(deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
    items = [
        {"source": f"s3://{source}/in/000000"},
        {"source": f"s3://{source}/in/000001", "destination": f"s3://{target}/out/one", "version_id": ""},
        {"inventory_row": {"Bucket": source, "Key": quote_plus(ODD, safe="/")}},
    ]

    assert deliver({"Items": items})["copied"] == 3
    assert copied(lab, target) == {"in/000000", "one", ODD}


def test_what_failed_is_answered_as_it_came(deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
    items = [
        {"source": f"s3://{source}/in/none"},
        {"source": f"s3://{source}/in/000000"},
        {"source": f"s3://{source}/in/000001", "dest": "?"},
        "?",
    ]
    reply = deliver({"Items": items})

    assert reply["Items"] == [items[0], items[2], items[3]]
    assert (reply["copied"], reply["bytes"], reply["failed"]) == (1, 1000, 3)
    assert [error["type"] for error in reply["errors"]] == ["SourceNotFound", "InputError", "InputError"]
    assert [error["source"] for error in reply["errors"]] == [items[0]["source"], items[2]["source"], "?"]  # type: ignore[index]
    assert copied(lab, target) == {"in/000000"}


def test_files_out_of_time_are_answered_to_be_continued(
    deliver: Deliver, lab: LabS3, source: str, target: str
) -> None:
    items = [{"source": f"s3://{source}/big/000000", "version_id": ""}]
    lab.set_model("10/0/400")
    reply = deliver({"Items": items}, seconds=1.3)
    lab.set_model("off")

    assert (reply["copied"], reply["pending"], reply["failed"]) == (0, 1, 0)
    [left] = reply["Items"]
    assert {name: left[name] for name in items[0]} == items[0]
    assert copied(lab, target) == set()
    again = deliver({"Items": reply["Items"]})
    assert (again["copied"], again["pending"], again["Items"]) == (1, 0, [])
    assert copied(lab, target) == {"big/000000"}


def test_all_that_fail_are_answered(deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
    items = [{"source": f"s3://{source}/in/none"}, {"source": f"s3://{source}/in/none2"}]
    reply = deliver({"Items": items})

    assert (reply["copied"], reply["bytes"], reply["failed"], reply["Items"]) == (0, 0, 2, items)
    assert [error["type"] for error in reply["errors"]] == ["SourceNotFound"] * 2
    assert copied(lab, target) == set()


def test_asked_to_succeed_it_raises_and_names_them(deliver: Deliver, source: str) -> None:
    items = [{"source": f"s3://{source}/in/none"}, {"source": f"s3://{source}/in/000000"}]
    reply = deliver({"Items": items, "must_succeed": True})

    assert reply.startswith('FilesFailed: {"copied": 1, "pending": 0, "bytes": 1000, "failed": 1, ')
    assert json.loads(reply.removeprefix("FilesFailed: "))["Items"] == items[:1]


@pytest.mark.parametrize(
    ("error", "message", "left"),
    [
        ("FilesFailed", '{"Items": [{"source": "s3://SOURCE/in/000001"}]}', {"in/000001"}),
        ("FilesFailedForNow", "cut off", {"in/000000", "in/000001"}),
        ("Lambda.Unknown", "killed", {"in/000000", "in/000001"}),
    ],
)
def test_of_a_failed_execution_what_it_left_is_copied(
    deliver: Deliver, lab: LabS3, source: str, target: str, error: str, message: str, left: set[str]
) -> None:
    batch = {"Items": [{"source": f"s3://{source}/in/{number:06d}"} for number in range(2)]}
    cause = {"errorType": error, "errorMessage": message.replace("SOURCE", source), "stackTrace": []}
    failed = {"Input": json.dumps(batch), "Error": error, "Cause": json.dumps(cause), "Status": "FAILED"}

    assert deliver({"failed_execution": failed})["copied"] == len(left)
    assert copied(lab, target) == left


def test_what_may_succeed_later_has_a_name_of_its_own(deliver: Deliver, source: str) -> None:
    event = {"Items": [{"source": f"s3://{source}/in/000000"}], "must_succeed": True}

    assert deliver(event, seconds=0.4).startswith('FilesFailedForNow: {"copied": 0')


def test_of_an_inventory_what_can_be_read_is_copied(
    deliver: Deliver, lab: LabS3, source: str, target: str
) -> None:
    def row(number: int, **fields: Any) -> Any:
        return {"inventory_row": {"Bucket": source, "Key": f"in/{number:06d}", **fields}}

    items = [
        row(0, IsLatest="true", IsDeleteMarker="false", StorageClass="GLACIER_IR"),
        row(0, IsLatest="false"),
        row(0, IsLatest="false", IsDeleteMarker="true"),
        row(1, StorageClass="DEEP_ARCHIVE"),
        row(2, IsDeleteMarker="true"),
        row(3, IsLatest="false"),
    ]
    reply = deliver({"Items": items})

    assert copied(lab, target) == {"in/000000"}
    assert reply["left_out"] == {"older_version": 2, "delete_marker": 2, "archived": 1}
    assert (reply["copied"], reply["failed"], reply["Items"]) == (1, 0, [])


def test_folder_markers_of_a_listing_are_left_out(
    deliver: Deliver, lab: LabS3, source: str, target: str
) -> None:
    """The console creates `in/`; the listing has the sizes."""
    sizes = {"in/": 0, "in/sub/": 0, "in/000000": 1000}
    reply = deliver(
        {"Items": [{"source": f"s3://{source}/{key}", "size": size} for key, size in sizes.items()]}
    )

    assert copied(lab, target) == {"in/000000"}
    assert (reply["left_out"], reply["copied"], reply["failed"]) == ({"folder_marker": 2}, 1, 0)


def test_a_row_of_an_inventory_comes_back_as_its_file(deliver: Deliver, source: str) -> None:
    rows = [
        {"Bucket": source, "Key": "in/none+%2B", "ETag": "long", "StorageClass": "STANDARD"},
        {"Bucket": source, "Key": "in/old", "IsLatest": "false"},
        {"Bucket": source, "key": "in/000000"},
    ]
    reply = deliver({"Items": [{"inventory_row": row} for row in rows]})

    assert reply["Items"] == [{"source": f"s3://{source}/in/none +"}, {"inventory_row": rows[2]}]
    assert (reply["failed"], reply["left_out"]) == (2, {"older_version": 1})
    assert "no Bucket or no Key among Bucket, key" in reply["errors"][1]["message"]


def test_a_reply_as_an_event_adds_to_its_totals(deliver: Deliver, source: str) -> None:
    first = deliver(
        {
            "Items": [
                {"source": f"s3://{source}/in/000000"},
                {"source": f"s3://{source}/in/none"},
                {"inventory_row": {"Bucket": source, "Key": "in/old", "IsLatest": "false"}},
            ]
        }
    )
    first["Items"] = [{"source": f"s3://{source}/in/000001"}]
    second = deliver(first)

    assert (first["copied"], first["bytes"], first["failed"]) == (1, 1000, 1)
    assert (second["copied"], second["bytes"], second["failed"]) == (2, 2000, 0)
    assert second["left_out"] == first["left_out"] == {"older_version": 1}


def test_a_malformed_batch_is_an_error(deliver: Deliver) -> None:
    assert deliver({"Items": "?"}) == (
        "InputError: the event is malformed at $.Items: Expected `array`, got `str`"
    )
    assert "unknown field `BatchInput`" in deliver({"Items": [], "BatchInput": {}})
