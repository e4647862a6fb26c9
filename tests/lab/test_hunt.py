"""The fault hunt's own parts: the judge finds what is wrong, and the proxy plays the faults it is given."""

import http.client
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hunt import runs
from tests.hunt.choices import COPIES, KINDS, PLAIN, SUMMED, choose, source_bytes, source_key
from tests.hunt.faults import FAULTS, Fault, fault_for
from tests.hunt.judge import Ended, Error, Expected, Found, Storage, judge
from tests.hunt.proxy import FaultProxy, Wire
from tests.hunt.sites import store_sources
from tests.servers import LabServer, S3Server

TESTS = Path(__file__).parents[1]
SOURCE = b"the bytes of the source"
COPIED = Ended("copied", seconds=0.5, deadline=1.0, size=len(SOURCE))
FAILED = replace(COPIED, status="failed", error=Error(("ConnectionFailed", "AsyncstreamError"), "it broke"))
FAULT = Fault("", part="body", fraction=0.5, seconds=0.01, interval=0.001, interim=False)


def test_a_true_copy_has_no_finding() -> None:
    assert judge(COPIED, Expected(SOURCE), Found(SOURCE)) == {}
    assert judge(COPIED, Expected(SOURCE, gzipped=True), Found(_gzip(SOURCE))) == {}
    assert judge(FAILED, Expected(SOURCE, previous=b"before"), Found(b"before")) == {}


@pytest.mark.parametrize(
    ("stored", "finding"),
    [
        (SOURCE[:-1] + b"!", "wrong"),
        (SOURCE[:-1], "short"),
        (SOURCE + b"!", "wrong"),
        (None, "wrong"),
    ],
)
def test_a_copy_of_other_bytes_is_found(stored: bytes | None, finding: str) -> None:
    assert judge(COPIED, Expected(SOURCE), Found(stored)).keys() == {finding}


def test_damaged_gzip_is_found() -> None:
    expected = Expected(SOURCE, gzipped=True)
    packed = _gzip(SOURCE)
    assert judge(COPIED, expected, Found(packed[:-1])).keys() == {"wrong"}
    assert judge(COPIED, expected, Found(packed + packed)).keys() == {"wrong"}
    assert judge(COPIED, expected, Found(_gzip(SOURCE[1:]))).keys() == {"short"}


def test_unprotected_bytes_excuse_no_short_copy() -> None:
    expected = Expected(SOURCE, unprotected=frozenset({"read"}))
    other = Found(SOURCE[:-1] + b"!")
    assert judge(COPIED, expected, other).keys() == {"unprotected"}
    assert judge(COPIED, expected, Found(SOURCE[:-1])).keys() == {"short"}
    assert judge(replace(COPIED, verified=frozenset({"write"})), expected, other).keys() == {"unprotected"}
    assert judge(replace(COPIED, verified=frozenset({"read"})), expected, other).keys() == {"wrong"}


def test_what_a_failed_file_leaves_is_found() -> None:
    assert judge(FAILED, Expected(SOURCE), Found(SOURCE[:5])).keys() == {"spoilt"}
    assert judge(FAILED, Expected(SOURCE, previous=b"before"), Found(None)).keys() == {"spoilt"}
    assert judge(FAILED, Expected(SOURCE), Found(None, ("id-1",))).keys() == {"left"}


def test_an_upload_that_the_result_names_is_no_finding() -> None:
    assert FAILED.error is not None
    noted = replace(FAILED, error=replace(FAILED.error, notes=("upload id-1 could not be aborted",)))
    assert judge(noted, Expected(SOURCE), Found(None, ("id-1",))) == {}
    assert judge(noted, Expected(SOURCE), Found(None, ("id-1", "id-2"))).keys() == {"left"}
    pending = replace(COPIED, status="pending", upload_id="id-1", continued="copied")
    assert judge(pending, Expected(SOURCE), Found(SOURCE, ("id-1",))) == {}


def test_late_odd_and_warning_runs_are_found() -> None:
    ended = replace(
        FAILED, seconds=2.1, error=Error(("KeyError", "LookupError"), "'ETag'"), complaints=("a",)
    )
    assert judge(ended, Expected(SOURCE), Found(None)).keys() == {"late", "odd", "warned"}
    assert judge(replace(COPIED, size=3), Expected(SOURCE), Found(SOURCE)).keys() == {"odd"}
    raised = replace(FAILED, status="raised")
    assert judge(raised, Expected(SOURCE), Found(None)).keys() == {"odd"}
    pending = replace(COPIED, status="pending", upload_id="id-1", continued="failed")
    assert judge(pending, Expected(SOURCE), Found(None)).keys() == {"odd"}


def test_an_object_that_is_protected_may_not_be_overwritten() -> None:
    expected = Expected(SOURCE, previous=b"before", keeps_previous=True)
    assert judge(COPIED, expected, Found(SOURCE)).keys() == {"wrong"}


def test_the_judge_shares_no_code_with_asyncstream() -> None:
    asked = "import sys, hunt.judge; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run(
        [sys.executable, "-c", asked], cwd=TESTS, capture_output=True, text=True, check=True
    )
    assert "'hunt'" in ended.stdout
    assert "'asyncstream'" not in ended.stdout


def test_choices_and_faults_follow_from_the_seed() -> None:
    assert choose(7) == choose(7)
    assert fault_for(7, "GetObject", 1, 1.0, tuple(FAULTS)) == fault_for(
        7, "GetObject", 1, 1.0, tuple(FAULTS)
    )
    cells = {choose(seed).cell for seed in range(9 * len(KINDS))}
    assert len(cells) == 9 * len(KINDS)


@pytest.fixture(scope="module")
def lab(running: Callable[[str], S3Server]) -> LabServer:
    """Return a running lab S3 with sources of the hunt."""
    server = running("lab")
    assert isinstance(server, LabServer)
    server.lab.create_bucket(PLAIN, keep=True, checksums=False)
    store_sources(Storage(server.endpoint_url), (0, 300_000))
    return server


@pytest.fixture
def storage(lab: LabServer) -> Storage:
    """Return the lab S3 as the judge sees it."""
    return Storage(lab.endpoint_url)


def test_uploads_that_are_left_are_found(storage: Storage, lab: LabServer) -> None:
    upload = lab.client.create_multipart_upload(Bucket=COPIES, Key="left")["UploadId"]
    assert storage.uploads(COPIES) == [("left", upload)]
    storage.abort(COPIES, "left", upload)
    assert storage.uploads(COPIES) == []


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("reply bit flipped", "other bytes"),
        ("reply bytes repeated", "other bytes"),
        ("reply closed", "IncompleteRead"),
        ("reply reset", "ConnectionResetError"),
        ("reply half-closed", "IncompleteRead"),
        ("reply pauses", "the bytes"),
        ("reply lost", "ConnectionResetError"),
        ("503, done", "503"),
        ("503, not done", "503"),
        ("HTML 200, done", "other bytes"),
        ("empty 200, done", "other bytes"),
        ("cut in digits", "IncompleteRead"),  # http.client accepts the cut head as complete
        ("request reset", "ConnectionResetError"),
        ("request closed", "RemoteDisconnected"),
    ],
)
def test_the_proxy_plays_a_fault(lab: LabServer, name: str, outcome: str) -> None:
    target = urlsplit(lab.endpoint_url).port or 0
    fault = replace(FAULT, name=name, part="head" if name.startswith("request") else "body")
    with FaultProxy(target, lambda *_: fault) as proxy:
        assert _outcome(proxy.url) == outcome
    assert [played[:2] for played in proxy.wire.played] == [(f"GetObject {SUMMED}", name)]
    expected = set() if "request" in name or "not done" in name else {("GetObject", SUMMED)}
    assert proxy.wire.with_checksum == expected


def test_checksums_of_the_destination_protect_no_source() -> None:
    choices = replace(choose(0), bucket=PLAIN, settings={"verify": "before"})
    wire = Wire([("GetObject", "reply bit flipped", "byte 300")], {("HeadObject", COPIES)})
    assert runs._unprotected(choices, wire) == {"read"}
    wire.with_checksum.add(("GetObject", PLAIN))
    assert runs._unprotected(choices, wire) == frozenset()


def test_a_run_without_faults_has_no_findings(lab: LabServer, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = replace(choose(0), kind="PUT of a stream", size=300_000, bucket=PLAIN, rate=0.0)
    settings = {**choices.settings, "deadline": 30.0, "stall_timeout": 15.0}
    monkeypatch.setattr(runs, "choose", lambda _: replace(choices, settings=settings, previous="none"))
    run = runs.run(0, {choices.server: lab.endpoint_url})
    assert (run.ended.status, run.verdicts, run.played) == ("copied", {}, ())


def _outcome(url: str) -> str:
    """Describe the end of a GET of a source: its bytes, other bytes, a status, or an error."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(
            "GET", f"/{SUMMED}/{source_key(300_000)}", headers={"x-amz-checksum-mode": "ENABLED"}
        )
        reply = connection.getresponse()
        if reply.status >= 400:
            return str(reply.status)
        return "the bytes" if reply.read() == source_bytes(300_000) else "other bytes"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _gzip(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()
