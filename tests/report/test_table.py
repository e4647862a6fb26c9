import io

import pytest
from msgspec.structs import replace

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.measurement import Failure, Files
from asyncstream.lab.report.table import draw

from .report_builders import (
    EIGHTY_PAGES,
    a_comparison,
    a_comparison_on_aws,
    a_comparison_with_faults,
    a_run,
    a_section,
    a_web_comparison,
    measured,
)


def drawn(comparison: Comparison, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    draw(comparison, out)
    return out.getvalue()


def comparison(rounds: int = 1) -> Comparison:
    rows = [
        measured("sequential", *[a_run(19.8, 1.0)] * rounds, label="sequential"),
        measured("threads-multipart", *[a_run(11.1, 1.2)] * rounds, label="threads + multipart"),
        measured("asyncio-multipart", Failure("ConnectionFailed: reset"), label="asyncio + multipart"),
        measured("boto3", *[a_run(1_120.8, 3.0, 10_240)] * rounds, label="boto3 one by one", reference=True),
    ]
    small = a_section(measured("sequential", a_run(0.123)), workload=Files(500, 16_384))
    return a_comparison([a_section(*rows), small], rounds=rounds)


@pytest.mark.parametrize("width", [80, 100, 110, 120])
@pytest.mark.parametrize("rounds", [1, 3])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(
    width: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = drawn(comparison(rounds), width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_essentials_are_shown_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(comparison(), width, monkeypatch)
    row = next(line for line in text.splitlines() if line.startswith("threads + multipart"))
    for figure in ("11.1", "0.56", "90.1", "1.20", "60", "20"):
        assert figure in row.split()


def test_the_articles_figures_stand_under_its_workload_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(comparison(), 80, monkeypatch).count("The article's times on Lambda: 21 s") == 1
    other = a_comparison([a_section(measured("sequential", a_run()), workload=Files(3, 1000))])
    assert "times on Lambda" not in drawn(other, 80, monkeypatch)


def test_references_come_last_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [measured("boto3", a_run(), reference=True), measured("sequential", a_run())]
    lines = drawn(a_comparison([a_section(*rows)]), 120, monkeypatch).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("sequential"))
    last = next(i for i, line in enumerate(lines) if line.startswith("boto3"))
    assert last == first + 2
    assert not lines[first + 1].strip()


def test_failures_are_a_row_and_said_below(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(comparison(), 120, monkeypatch)
    assert "FAILED  10 x 100 MB, asyncio + multipart: ConnectionFailed: reset" in text


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("off", "The network model is off"),
        (None, "without a network model"),
        ("53/90/25", "25 ms to the first byte, fitted to the article"),
        (
            "10/20/5/30",
            "20 MB/s in total in each direction, 5 ms to the first byte (jitter 30 %)",
        ),
    ],
)
def test_the_heading_says_what_the_network_is(
    model: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = drawn(a_comparison([a_section(measured("sequential", a_run()))], model=model), 300, monkeypatch)
    assert sentence in text


def a_sweep() -> Comparison:
    killed = Failure("Runtime.OutOfMemory: Runtime exited with error: signal: killed")
    rows = [
        measured("threads", a_run(40.0), label="threads + multipart", memory_mb=128),
        measured("threads", a_run(11.0), label="threads + multipart", memory_mb=1769),
        measured("boto3", killed, label="boto3 thread pool", reference=True, memory_mb=128),
        measured("boto3", a_run(12.0), label="boto3 thread pool", reference=True, memory_mb=1769),
    ]
    return a_comparison([a_section(*rows)], memory=[128, 1769])


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_sweep_has_a_row_for_each_size(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(a_sweep(), width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    rows = [line.split() for line in text.splitlines()]
    assert ["threads", "+", "multipart", "128", "40.0"] in [row[:5] for row in rows]
    assert ["1,769", "11.0"] in [row[:2] for row in rows]
    assert ["boto3", "thread", "pool", "128", "out", "of", "memory"] in rows


def test_a_size_that_is_too_small_is_a_finding_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert a_sweep().errors == []
    assert "FAILED" not in drawn(a_sweep(), 120, monkeypatch)


def test_a_sweep_says_how_sizes_were_held(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "and its memory: cgroup v1." in drawn(a_sweep(), 300, monkeypatch)


def test_noise_is_named_as_measured_or_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    once = measured("threads", a_run(10.0))
    again = measured("threads", a_run(10.5), repeat=True)
    sentence = "differed by 5.0% (10 x 100 MB). Smaller"
    assert sentence in drawn(a_comparison([a_section(once, again)]), 300, monkeypatch)
    assert "differences below 3% are ties" in drawn(a_comparison([a_section(once)]), 300, monkeypatch)


def test_fault_columns_appear_only_if_faults_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text below the table explains the columns."""
    for width in (80, 120, 300):
        text = drawn(a_comparison_with_faults(), width, monkeypatch)
        assert max(map(len, text.splitlines())) <= width
        row = next(line for line in text.splitlines() if line.startswith("threads"))
        assert " 20 1,234 7 " in " ".join(row.split())
    assert "25 ms to the first byte, fitted to the article's figures on Lambda. 5 % of requests fail" in text
    assert "faults: requests that failed on purpose (SlowDown, reset), the same ones" in text
    other = drawn(comparison(), 300, monkeypatch)
    assert not [word for word in ("of requests fail", "faults", "open") if word in other]


@pytest.mark.parametrize("shown", [comparison(3), a_sweep()], ids=["one size", "sweep"])
def test_with_all_columns_at_once_nothing_is_cut(shown: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = replace(shown, rounds=3, network=replace(shown.network, faults=0.05))
    text = drawn(everything, 80, monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_an_early_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(a_comparison([a_section()], ended_early="Ctrl-C"), 120, monkeypatch)
    assert "Ended early (Ctrl-C)" in text


def test_the_table_of_deployed_functions_has_lambdas_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(a_comparison_on_aws(512), 300, monkeypatch)
    assert "Machine: AWS Lambda arm64, eu-central-1, Python 3.13.\n" in text
    assert "and its memory: by Lambda itself.\n" in text
    assert "seconds for the environment's start with its imports: sequential 0.31, threads 0.31" in text
    assert "Traces are missing: X-Ray cannot be asked: no." in text


def test_ways_of_one_size_each_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(a_comparison_on_aws(512), 120, monkeypatch).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("sequential"))
    assert [line.split()[:2] for line in lines[first : first + 3]] == [
        ["sequential", "512"],
        ["threads", "512"],
        ["asyncio", "512"],
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_pages_have_columns_of_their_own_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(replace(a_web_comparison(), rounds=3), width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if line.startswith("urllib one by one"))
    assert [figure in row.split() for figure in ("20.0", "12.5", "80", "1,805")] == [True] * 4
    assert "S3" not in text.partition("USD per 1,000 runs:")[0]
    assert text.count("times on Lambda: 23 s one by one, 8 s with 60 threads") == 1


def test_the_web_and_what_is_serial_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(a_web_comparison(), 1000, monkeypatch)
    assert "A page starts after 187.5 ms on average, spread log-normally (sigma 1)." in text
    assert "The waits for 80 pages add up to 15.0 s; the longest takes" in text
    assert "9.5 ms for each round trip, including network and commit. Both models are fitted to" in text
    assert "seconds divided by 1.60 s, the minimum wait" in text
    assert "800 round trips take 7.6 s with any number of threads" in text
    assert "every row of 7 runs (800 each), against the pages' content" in text


def test_unknown_figures_of_another_postgres_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    uncounted = a_section(measured("asyncio", a_run(requests={"web": 80})), workload=EIGHTY_PAGES)
    text = drawn(a_web_comparison(uncounted, round_trip=None), 1000, monkeypatch)
    row = next(line for line in text.splitlines() if line.startswith("asyncio"))
    assert row.split()[7:9] == ["80", "-"]
    assert "Postgres: the one here. It answers at its own speed, without a network model." in text
    assert "round trips" not in text.partition("Machine")[2]
