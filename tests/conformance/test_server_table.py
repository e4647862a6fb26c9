"""Servers and what each lacks of S3: asked what they can do, and used for transfers by every engine.

`docs/servers.md` has the expected rows; the end of a run prints those that were measured.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from asyncstream import Event, MiB, S3Object, S3Prefix, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.errors import DestinationExists, S3Error
from asyncstream.pipeline.progress import BytesMoved, FileStarted, OnEvent, ignore
from tests.conformance import CLIENTS
from tests.places import key_of
from tests.server_table import PAGE, PROPERTY, rows
from tests.servers import SERVERS, Bucket, S3Server
from tests.servers.lesser_s3 import LesserS3
from tests.servers.ministack import MiniStackServer
from tests.servers.quirks import QUIRKS

from .capabilities import (
    COLUMNS,
    CONTENT,
    CREATE_BY_COMPLETE,
    CREATE_BY_PUT,
    LIST_PARTS,
    LIST_UPLOADS,
    PARTS,
    SMALL,
    TAGS,
    fill,
    measure,
)
from .clocks import Clock

REAL = [*SERVERS, MiniStackServer.name]
QUIRKY = [f"lab, {quirk}" for quirk in QUIRKS]
MULTIPART: dict[str, Any] = {"multipart": True, "part_size": 5 * MiB, "retry_base_delay": 0.001}
LISTED = PAGE.read_text().splitlines()


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], dict[str, str]]:
    """The cells of each server, by its name and the engine that has asked: one for each quirk."""
    return {}


class Transfers:
    """The transfers of one test: from the bucket's sources to other keys of it, over one session.

    Attributes:
        without: what the reports and errors say that the transfers went without.
    """

    def __init__(self, session: TransferSession, bucket: Bucket) -> None:
        self.session = session
        self.bucket = bucket
        self.without: dict[str, None] = {}

    def run(self, to: str, *keys: str, on_event: OnEvent = ignore, **settings: Any) -> TransferReport:
        """Copy these sources, or all that a listing has, to keys that begin with `to`."""
        bucket = self.bucket.name
        continuations = settings.pop("continuations", {})
        files: list[Any] = [(S3Object(bucket, key), S3Object(bucket, f"{to}{key}")) for key in keys]
        config = TransferConfig(**MULTIPART | settings)
        listed = [(S3Prefix(bucket, "in/"), S3Prefix(bucket, f"{to}in/"))]
        report = self.session.transfer(files or listed, config, on_event, continuations)
        self.note(*(each.removeprefix(f"s3://{bucket} ") for each in report.downgrades))
        return report

    def note(self, *without: str) -> None:
        self.without |= dict.fromkeys(without)

    def check(self, to: str, *keys: str) -> None:
        """Check that copies have the bytes of their sources, and that no upload is left."""
        for key in keys:
            assert self.bucket.get(f"{to}{key}") == CONTENT[key]
        assert self.bucket.uploads() == []


@pytest.mark.parametrize(
    ("engine", "name"),
    [*product(ENGINES, QUIRKY), *product(CLIENTS, REAL)],
    indirect=["engine"],
)
def test_a_server_is_used_as_far_as_it_can(
    engine: EngineName,
    name: str,
    running: Callable[[str], S3Server],
    request: pytest.FixtureRequest,
    clock: Clock,
    measured: dict[tuple[str, str], dict[str, str]],
    record_property: Callable[[str, object], None],
) -> None:
    """Its row in `docs/servers.md` says what it can do and what transfers go without."""
    behind, _, quirk = name.partition(", ")
    server = request.getfixturevalue("ministack") if behind == "MiniStack" else running(behind)
    client: EngineName = "threads" if quirk else engine
    bucket = server.new_bucket()
    fill(bucket)
    with ExitStack() as stack:
        stack.callback(bucket.empty)
        url = server.endpoint_url
        if quirk:
            lesser = stack.enter_context(LesserS3(url, QUIRKS[quirk]))
            url = lesser.url
        if (name, client) not in measured:
            measured[name, client] = measure(client, url, bucket.name)
            assert not quirk or lesser.struck
        cells = measured[name, client]
        transfers = Transfers(stack.enter_context(TransferSession(engine, endpoint_url=url)), bucket)
        copy_and_skip(transfers)
        create_only(transfers, cells, whole=not quirk)
        meet_refusals(transfers, cells, clock)
    record_property(PROPERTY, [name, cells, [*transfers.without]])
    assert [row for row in rows(name, cells, [*transfers.without]) if row not in LISTED] == []


def copy_and_skip(transfers: Transfers) -> None:
    """Copy all sources; then copy one twice, of which the second time writes nothing."""
    assert transfers.run("copies/").failed == []
    transfers.check("copies/", *CONTENT)
    assert transfers.run("kept/", SMALL, if_exists="skip").failed == []
    again = transfers.run("kept/", SMALL, if_exists="skip")
    assert len(again.skipped) == 1
    transfers.check("kept/", SMALL)


def create_only(transfers: Transfers, cells: dict[str, str], *, whole: bool) -> None:
    """Let another writer create each destination after its HEAD; only a server can then protect it.

    Unless `whole`, an upload is tried only if the server is known not to protect from it.
    """
    bucket = transfers.bucket

    def interfere(event: Event) -> None:
        if isinstance(event, FileStarted):
            bucket.put(key_of(event.destination), b"precious")

    for key, column in {SMALL: CREATE_BY_PUT, PARTS: CREATE_BY_COMPLETE}.items():
        if key == PARTS and not whole and cells[column] == "yes":
            continue
        report = transfers.run("new/", key, on_event=interfere, if_exists="fail")
        [file] = report.files
        if cells[column] == "ignored":
            assert file.status == "copied"
            assert any("may have been overwritten" in each for each in report.downgrades)
            continue
        assert bucket.get(f"new/{key}") == b"precious"
        if cells[column] == "yes":
            assert isinstance(file.error, DestinationExists)
            assert not any("If-None-Match" in each for each in report.downgrades)
        else:
            transfers.note(f'if_exists="fail" ({refusal_of(file.error)})')
            assert 'Use if_exists="skip"' in "".join(getattr(file.error, "__notes__", ()))
    assert bucket.uploads() == []


def meet_refusals(transfers: Transfers, cells: dict[str, str], clock: Clock) -> None:
    """Use what the server refuses, in the ways that transfers do."""
    if cells[TAGS] == "refused":
        [failed] = transfers.run("tagged/", SMALL, extra_args={"Tagging": "a=b"}).failed
        transfers.note(f"tags of extra_args ({refusal_of(failed.error)})")
    if cells[LIST_UPLOADS] == "refused":
        with pytest.raises(S3Error) as refused:
            transfers.session.stale_uploads(S3Prefix(transfers.bucket.name, ""), timedelta(0))
        transfers.note(f"finding stale uploads ({refusal_of(refused.value)})")
    if cells[LIST_PARTS] == "refused":
        start_over(transfers, clock)


def start_over(transfers: Transfers, clock: Clock) -> None:
    """Continue an upload whose parts the server does not list: the file is sent again as a whole."""

    def stop(event: Event) -> None:
        clock.now += 1000 * isinstance(event, BytesMoved)

    timed: dict[str, Any] = {"deadline": 500.0, "at_deadline": "pending"}
    left = transfers.run("late/", PARTS, on_event=stop, **timed).continuations
    assert len(left) == 1
    [file] = transfers.run("late/", PARTS, continuations=left, **timed).files
    assert (file.status, "NotImplemented" in str(file.restarted)) == ("copied", True)
    transfers.check("late/", PARTS)


def refusal_of(error: BaseException | None) -> str:
    """Return how a server refused."""
    assert isinstance(error, S3Error)
    return f"{error.status} {error.code}"


def test_the_page_has_a_row_for_every_server_and_column() -> None:
    tables = [line.split(" | ") for line in LISTED if line.startswith("| ")]
    named = [row[0].removeprefix("| ") for row in tables]

    assert named == 2 * ["server", "---", *REAL, *QUIRKY]
    assert tables[0][1:] == f"{' | '.join(COLUMNS)} |".split(" | ")
