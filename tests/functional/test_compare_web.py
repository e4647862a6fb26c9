"""`asyncstream compare --workload web`: every way gathers pages into a real Postgres."""

import argparse
import json
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.cli.arguments import parser
from asyncstream.lab.compare.harness import Turn
from asyncstream.lab.compare.pages import GatherPages
from asyncstream.lab.compare.rounds import take
from asyncstream.lab.compare.sandboxed import SandboxedFunctions
from asyncstream.lab.compare.settings import DEFAULT_WEB_MODEL, GatherSettings, Settings, check_settings
from asyncstream.lab.compare.variants import GATHERING, Variant
from asyncstream.lab.compare.verification import wrong_rows
from asyncstream.lab.report.measurement import Failure, Pages, Run, Way
from tests.servers.postgres import PASSWORD, TestServer

from .command_line import Ended
from .interrupted import interrupt

ROOT = Path(__file__).parents[2]
TINY = ("compare", "--workload", "web", "--pages", "12", "--model", "20/0.5/1")
OF_OURS = "SELECT relname FROM pg_class WHERE relname LIKE 'asyncstream_compare%'"


def settings_of(*arguments: str) -> Settings:
    def nothing(_: argparse.Namespace) -> int:
        return 0

    given = ["compare", "--workload", "web", *arguments]
    return check_settings(
        parser(defaultdict(lambda: nothing)).parse_args(given, argparse.Namespace(arguments=given))
    )


def rows(document: Any) -> dict[str, Any]:
    return {row["way"]["name"]: row for row in document["sections"][0]["rows"]}


@pytest.mark.slow
def test_every_way_gathers_the_same_rows_and_is_verified(run: Callable[..., Ended], tmp_path: Path) -> None:
    page, comment = tmp_path / "out.html", tmp_path / "out.md"
    done = run(*TINY, "--json", "--html", str(page), "--markdown", str(comment))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["verified"] == 6
    assert list(rows(document)) == [variant.way.name for variant in GATHERING]
    assert document["sections"][0]["workload"]["floor"] >= document["sections"][0]["workload"]["slowest"]
    for name, row in rows(document).items():
        figures = row["figures"]
        assert figures["requests"]["web"] == 12, name
        assert (figures["requests_usd"], figures["usd"]) == (0, figures["compute_usd"])
        assert figures["gb_seconds"] > 0
        # The reference needs a statement for each of the 120 rows; the others need one or two for all.
        assert (figures["requests"]["postgres"] >= 120) == row["way"]["reference"], name
        assert figures["floor_ratio"] > 1
        assert f"12 pages, {row['way']['label']}, round 1: " in done.err
    assert "120 round trips take 0.1 s with any number of threads" in " ".join(done.err.split())
    assert "| *urllib thread pool* |" in comment.read_text().replace("\\", "")
    # Traces were read back and contain the pages.
    assert "item 11" in page.read_text()


@pytest.mark.slow
def test_a_sweep_on_another_postgres_leaves_nothing_there(
    run: Callable[..., Ended], postgres: TestServer, tmp_path: Path
) -> None:
    dsn = postgres.dsn(user="postgres")
    options = ["--variants", "asyncio,urllib-pool", "--memory", "512", "--no-trace", "--no-repeat", "--json"]
    done = run(*TINY[:-1], "20/0.5", "--dsn", dsn, *options, "--html", str(tmp_path / "out.html"))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["verified"], document["network"]["round_trip"]) == (2, None)
    assert [row["memory_mb"] for row in rows(document).values()] == [512, 512]
    # Round trips to a Postgres given by the user are not counted.
    assert rows(document)["asyncio"]["figures"]["requests"] == {"web": 12}
    for told in (done.out, done.err, (tmp_path / "out.html").read_text()):
        assert PASSWORD not in told
    with postgres.session() as session:
        assert session.execute(OF_OURS).fetchall() == []


@pytest.fixture(scope="module")
def gathering() -> Iterator[tuple[GatherPages, Pages]]:
    settings = settings_of("--pages", "2", "--model", "off")
    (workload,) = settings.workloads
    assert isinstance(workload, Pages)
    assert isinstance(settings.servers, GatherSettings)
    with GatherPages(settings.servers, 4) as opened:
        yield opened, workload


WRITING = """
import json, os
from urllib.request import urlopen
import psycopg
from psycopg.sql import SQL, Identifier

def handler(event, context):
    with psycopg.connect(os.environ["POSTGRES_DSN"]) as connection:
        insert = SQL("INSERT INTO {} VALUES (%s, %s, %s, %s)").format(Identifier(event["table"]["name"]))
        for row in changed([row for url in event["urls"] for row in json.loads(urlopen(url).read())]):
            connection.execute(insert, list(row.values()))
    return {}
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("changed = list", None),
        ("changed = lambda rows: rows[:-2]", "WrongRows: 18 is missing; 19 is missing"),
        ("changed = lambda rows: []", "WrongRows: 0 is missing; 1 is missing; 2 is missing and 17 more"),
        ("changed = lambda rows: [*rows[1:], {**rows[0], 'price': 3}]", "WrongRows: 0 has (0, 'item 0 of"),
        ("changed = lambda rows: [*rows, {**rows[0], 'id': 99}]", "WrongRows: 99 is unexpected"),
        ("changed = lambda rows: 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_only_a_table_with_exactly_the_pages_rows_counts(
    gathering: tuple[GatherPages, Pages], tmp_path: Path, change: str, told: str | None
) -> None:
    harness, workload = gathering
    (tmp_path / "written.py").write_text(WRITING + change)
    variant = Variant(Way("written", "written", reference=True), tmp_path, "written.handler")
    with SandboxedFunctions([variant], harness.environment(), traced=False) as functions:
        run = take(Turn(1, workload, variant, None), harness, functions)
    if told is None:
        assert isinstance(run, Run)
        assert run.requests["web"] == 2
    else:
        assert isinstance(run, Failure)
        assert run.error.startswith(told)


def test_rows_are_compared_by_what_they_hold() -> None:
    assert wrong_rows({1: ("a", 2)}, {1: ("a", 2)}) is None
    assert wrong_rows({1: ("a", 2)}, {1: ("a", 3)}) == "WrongRows: 1 has ('a', 3) instead of ('a', 2)"


def test_the_default_model_is_the_article_s() -> None:
    settings = settings_of()
    (pages,) = settings.workloads
    assert isinstance(pages, Pages)
    assert isinstance(settings.servers, GatherSettings)
    assert (pages.pages, pages.rows, settings.concurrency) == (80, 10, 60)
    assert pages.seconds == pytest.approx(15.0)
    assert settings.servers.round_trip is not None
    inserting = pages.pages * pages.rows * settings.servers.round_trip
    # The model must give the reference's 23 s one by one. With threads it must give 8 s, because inserting is
    # serial and takes longer than the slowest page.
    assert pages.seconds + inserting == pytest.approx(23, rel=0.05)
    assert inserting == pytest.approx(8, rel=0.06)
    assert pages.floor < inserting
    assert settings_of("--model", DEFAULT_WEB_MODEL).workloads == [pages]


@pytest.mark.parametrize(
    ("model", "slowest", "round_trip"),
    [("off", 0.0, 0.0), ("100/0/2", 0.1, 0.002), ("0/0/0", 0.0, 0.0)],
)
def test_models_are_read(model: str, slowest: float, round_trip: float) -> None:
    settings = settings_of("--model", model)
    assert isinstance(settings.servers, GatherSettings)
    (pages,) = settings.workloads
    assert isinstance(pages, Pages)
    assert pages.slowest == pytest.approx(slowest)
    assert settings.servers.round_trip == round_trip


def test_fewer_at_once_have_a_later_floor() -> None:
    floors = [settings_of("--concurrency", str(at_once)).workloads[0] for at_once in (1, 8, 60)]
    first, second, third = (pages.floor for pages in floors if isinstance(pages, Pages))
    assert first == pytest.approx(15.0)
    assert first > second > third


def test_a_password_in_a_dsn_is_in_no_report() -> None:
    for written in (("--dsn", "postgresql://me:word@db/x"), ("--dsn=host=db password=word",)):
        assert "word" not in settings_of(*written).command
        assert "DSN" in settings_of(*written).command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--files", "2x1KB"], "--files does not work with --workload web: use it with --workload s3"),
        (["--faults", "0"], "--faults does not work with --workload web"),
        (["--transform", "gzip"], "--transform does not work with --workload web"),
        (["--endpoint-url", "http://127.0.0.1:9"], "--endpoint-url does not work with --workload web"),
        (["--stack", "mine"], "--stack does not work with --workload web"),
        (["--tls"], "--tls does not work with --workload web"),
        (["--source-bucket", "mine"], "--source-bucket does not work with --workload web"),
        (["--workload", "s3", "--pages", "3"], "--pages does not work with --workload s3"),
        (["--hosts", "0"], "--hosts 0 is out of range"),
        (["--workload", "s3", "--dsn", "host=db"], "--dsn does not work with --workload s3"),
        (["--workload", "ftp"], "invalid choice: 'ftp'"),
        (["--pages", "0"], "--pages 0 is out of range: use 1 to 20,000"),
        (["--variants", "boto3"], "no variant 'boto3': choose from sequential, threads, asyncio, urllib"),
        (
            ["--model", "53/90"],
            "--model '53/90' is not a model: write average ms per page / sigma of their spread / ms",
        ),
        (["--model", "a/b/c"], "such as 187.5/1/9.5"),
        (["--model", "1/1/inf"], "--model '1/1/inf'"),
        (["--model", "1/9/1"], "--model: sigma 9.0 is out of range: use 0 to 3"),
        (["--dsn", "host=db", "--model", "1/1/1"], "such as 187.5/1"),
        (["--dsn", "nonsense secret"], "the DSN cannot be read"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Callable[..., Ended], arguments: list[str], told: str) -> None:
    done = run("compare", "--workload", "web", *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert told in done.err
    assert "secret" not in done.err


def test_a_refused_login_is_one_line_without_the_password(
    run: Callable[..., Ended], postgres: TestServer
) -> None:
    done = run("compare", "--workload", "web", "--dsn", postgres.dsn(password="AnotherOne"))
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "password authentication failed" in done.err
    assert "AnotherOne" not in done.err


@pytest.mark.slow
def test_an_interrupted_comparison_shows_results_so_far(postgres: TestServer, tmp_path: Path) -> None:
    """An interrupted comparison leaves nothing behind."""
    two = [*TINY[1:-1], "600/0", "--no-repeat", "--variants", "asyncio,urllib"]
    interrupt([*two, "--dsn", postgres.dsn(user="postgres")], "asyncio", signal.SIGINT, tmp_path)
    with postgres.session() as session:
        assert session.execute(OF_OURS).fetchall() == []
