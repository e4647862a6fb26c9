"""`asyncstream estimate`, `plan`, `run`, `finish` and `abort`."""

from collections.abc import Callable

import boto3
import pytest

from asyncstream import InputError, KiB, SourceNotFound, TransferConfig
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.runs import batch_uris, run_batch

from .command_line import Ended, LabWith

Run = Callable[..., Ended]
FILES = 40


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    lab = lab_with(FILES, 10 * KiB)
    lab.create_bucket("runs", keep=True)
    return lab


def plan(run: Run, *options: str) -> Ended:
    return run("plan", "s3://sources/x/", "s3://copies/y/", "s3://runs/1/", *options)


def test_a_run_copies_all_files(run: Run, lab: LabS3) -> None:
    planned = plan(run)
    moved = run("run", "s3://runs/1/")
    finished = run("finish", "s3://runs/1/")

    assert planned.code == moved.code == finished.code == 0
    assert planned.err.startswith("40 files, 410 KB, in 1 batches")
    assert "next, asyncstream run s3://runs/1/" in planned.err
    assert "1 batches, 0 files left" in moved.err
    assert "1 of 1 batches done" in finished.err
    assert len(lab.checksums("copies", "y/")) == FILES


def test_what_was_moved_is_not_moved_again(run: Run, lab: LabS3) -> None:
    plan(run)
    run("run", "s3://runs/1/")
    lab.reset_stats()

    again = run("run", "s3://runs/1/")
    named = run("run", "s3://runs/1/", "--batch", "0")

    assert again.err == "all batches are done: next, asyncstream finish s3://runs/1/\n"
    assert named.code == 0
    assert "PutObject" not in lab.stats()["operations"]


def test_shards_share_the_batches(run: Run, lab: LabS3) -> None:
    plan(run)

    other = run("run", "s3://runs/1/", "--shard", "1/2")
    unfinished = run("finish", "s3://runs/1/")
    own = run("run", "s3://runs/1/", "--shard", "0/2")

    assert other.err == "all batches of this shard are done: next, asyncstream finish s3://runs/1/\n"
    assert (unfinished.code, own.code) == (1, 0)
    assert "0 of 1 batches done" in unfinished.err
    assert "1 batches are not done: run asyncstream run s3://runs/1/" in unfinished.err
    assert run("finish", "s3://runs/1/").code == 0


@pytest.mark.parametrize("name", ["AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX"])
def test_a_job_of_an_array_moves_its_batch(
    run: Run, lab: LabS3, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plan(run)
    monkeypatch.setenv(name, "1")
    outside = run("run", "s3://runs/1/")
    monkeypatch.setenv(name, "0")
    inside = run("run", "s3://runs/1/")
    monkeypatch.setenv(name, "first")
    wrong = run("run", "s3://runs/1/")

    assert (outside.code, inside.code, wrong.code) == (2, 0, 2)
    assert "batch 1 does not exist" in outside.err
    assert f"{name}='first'" in wrong.err


def test_files_that_fail_are_named(run: Run, lab: LabS3) -> None:
    plan(run)
    lab.discard("sources", "x/000007")

    moved = run("run", "s3://runs/1/")
    finished = run("finish", "s3://runs/1/")

    assert (moved.code, finished.code) == (1, 1)
    for said in (moved.err, finished.err):
        assert "FAILED  s3://sources/x/000007 -> s3://copies/y/000007: SourceNotFound" in said
    assert len(lab.checksums("copies", "y/")) == FILES - 1


def test_many_files_that_fail_are_named_in_part(run: Run, lab: LabS3) -> None:
    plan(run)
    lab.discard("sources", "x/")

    moved = run("run", "s3://runs/1/")

    assert moved.code == 1
    assert moved.err.count("FAILED") == 10
    assert "30 more, named in s3://runs/1/left/000000.json" in moved.err


@pytest.mark.parametrize("command", ["run", "finish", "abort"])
def test_a_run_that_was_not_planned_is_told(run: Run, lab: LabS3, command: str) -> None:
    ended = run(command, "s3://runs/never/")

    assert ended.code == 1
    assert "s3://runs/never/ has no whole plan" in ended.err


def test_an_estimate_of_nothing_is_an_error(run: Run, lab: LabS3) -> None:
    ended = run("estimate", "s3://sources/none/", "s3://copies/y/")

    assert ended.code == 2
    assert "nothing is stored under s3://sources/none/" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--functions", "10001"], "functions=10,001 must be at most 10,000"),
        (["--functions", "0"], "functions=0 must be at least 1"),
        (["--memory", "127"], "memory=127 must be at least 128"),
        (["--concurrency", "0"], "concurrency=0 must be at least 1"),
        (["--kind", "lines", "--ranges", "10001"], "ranges=10,001 must be at most 10,000"),
        (["--header"], "`header` is for the ranges of a text"),
        (["--ranges", "3"], "`ranges` is for the ranges of a text"),
    ],
)
def test_wrong_options_are_told_before_any_request(
    run: Run, lab: LabS3, options: list[str], said: str
) -> None:
    lab.reset_stats()
    planned = plan(run, *options)
    counted = run("estimate", "s3://sources/x/", "s3://copies/y/", *options)

    assert (planned.code, counted.code) == (2, 2)
    assert said in planned.err
    assert said in counted.err
    assert not lab.stats()["operations"]


def test_an_estimate_writes_nothing(run: Run, lab: LabS3) -> None:
    ended = run("estimate", "s3://sources/x/", "s3://copies/y/", "--functions", "4")

    assert ended.code == 0
    assert "40 of 410 KB" in ended.out
    assert "USD" in ended.out
    assert lab.stats()["operations"].keys() == {"ListObjectsV2"}


def test_an_aborted_run_has_no_uploads(run: Run, lab: LabS3) -> None:
    plan(run)

    assert run("abort", "s3://runs/1/").code == 0
    assert lab.discard("copies", "") == 0


def test_wrong_places_are_told_before_any_request(run: Run, lab: LabS3) -> None:
    lab.reset_stats()
    ends = [
        run("plan", "s3://sources/x/", "s3://copies/y/", "s3://runs/1"),
        run("plan", "s3://sources/", "s3://copies/", "s3://sources/runs/"),
        run("run", "s3://runs/1/", "--shard", "3/3"),
        run("plan", "s3://sources/x/", "s3://copies/y/", "s3://runs/1/", "--join", "s3://copies/all"),
    ]

    assert [ended.code for ended in ends] == [2, 2, 2, 2]
    assert "end it with a slash" in ends[0].err
    assert "would be among the files" in ends[1].err


def test_a_program_moves_batches_by_their_uris(run: Run, lab: LabS3) -> None:
    plan(run)

    [uri] = batch_uris("s3://runs/1/")
    outcome = run_batch(uri)

    assert uri == "s3://runs/1/plan/000000.jsonl"
    assert (outcome.files, outcome.left) == (FILES, [])
    assert batch_uris("s3://runs/1/") == []
    assert run_batch(uri) == outcome


def test_a_program_tries_temporary_failures_again(run: Run, lab: LabS3) -> None:
    plan(run)
    lab.set_faults(
        [Fault("refuse", "PutObject", key="y/000003", status=503, code="SlowDown", times=[1, 2, 3])]
    )

    outcome = run_batch("s3://runs/1/plan/000000.jsonl", config=TransferConfig(max_attempts=2))

    assert (outcome.files, outcome.left, outcome.runs) == (FILES, [], 2)


def test_calls_of_runs_name_what_is_wrong(run: Run, lab: LabS3) -> None:
    with pytest.raises(InputError, match="is not a batch"):
        run_batch("s3://runs/1/")
    with pytest.raises(SourceNotFound):
        batch_uris("s3://runs/never/")


def test_a_run_has_two_servers(run: Run, lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects, and the ranges that become one text, are at the end of the destination."""
    text = b"a,b\n" + b"1,2\n" * 5_000
    with LabS3() as other:
        other.create_bucket("clean", keep=True)
        lab.create_bucket("raw", keep=True)
        s3 = boto3.client("s3", endpoint_url=lab.endpoint_url)
        s3.put_object(Bucket="raw", Key="text.csv", Body=text)
        monkeypatch.setenv("ASYNCSTREAM_DESTINATION_ENDPOINT_URL", other.endpoint_url)
        lines = ["--kind", "lines", "--ranges", "3", "--header", "--join", "s3://clean/whole.csv"]

        planned = run("plan", "s3://raw/text.csv", "s3://clean/parts/", "s3://clean/run/", *lines)
        moved = run("run", "s3://clean/run/")
        finished = run("finish", "s3://clean/run/")
        joined = boto3.client("s3", endpoint_url=other.endpoint_url).get_object(
            Bucket="clean", Key="whole.csv"
        )

        assert (planned.code, moved.code, finished.code) == (0, 0, 0), planned.err + moved.err + finished.err
        assert joined["Body"].read() == text
