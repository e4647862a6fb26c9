from asyncstream.lab.report.markdown import markdown
from asyncstream.lab.report.measurement import Failure

from .report_builders import (
    a_comparison,
    a_comparison_with_faults,
    a_run,
    a_section,
    a_web_comparison,
    measured,
)


def test_each_workload_has_a_verdict_and_a_github_table() -> None:
    rows = [measured("sequential", a_run(20.0)), measured("threads", a_run(10.0, 5.0))]
    lines = markdown(a_comparison([a_section(*rows)])).splitlines()
    assert lines[0] == "### 10 x 100 MB"
    assert lines[2].startswith("- Fastest: threads (10.0 s, 0.50 x sequential)")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert table[3].startswith("| threads | 885 | 10.0 | 5.00 | 60 | 20 |")


def test_sizes_that_failed_are_rows_of_the_same_width() -> None:
    killed = Failure("Runtime.OutOfMemory: killed")
    rows = [measured("threads", a_run(), memory_mb=512), measured("boto3", killed, memory_mb=512)]
    table = [line for line in markdown(a_comparison([a_section(*rows)])).splitlines() if line.startswith("|")]
    assert table[3].startswith("| boto3 | 512 | out of memory |")
    assert len({line.count("|") for line in table}) == 1


def test_faults_are_columns_where_there_were_to_be_any() -> None:
    lines = markdown(a_comparison_with_faults()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert "| requests | faults | left open | compute |" in table[0]
    assert "| 20 | 1,234 | 7 |" in table[2]
    assert len({line.count("|") for line in table}) == 1
    assert any("5 % of requests fail" in line for line in lines)
    assert "left open" not in markdown(a_comparison([a_section(measured("threads", a_run()))]))


def test_text_from_outside_stays_text() -> None:
    text = markdown(a_comparison([a_section(measured("threads", Failure("Boom: <b>|`x`")))]))
    assert "- **failed**: 10 x 100 MB, threads: Boom: \\<b\\>\\|\\`x\\`" in text


def test_how_it_was_measured_is_folded_away() -> None:
    text = markdown(a_comparison([a_section(measured("threads", a_run()))]))
    assert "<details><summary>How this was measured</summary>" in text
    assert "- To repeat: asyncstream compare" in text


def test_pages_have_their_own_columns_and_article_figures() -> None:
    lines = markdown(a_web_comparison()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert "| times the floor | CPU s | peak MiB | web requests | Postgres round trips | USD" in table[0]
    assert table[2].startswith("| asyncio | 128 | 2.00 | 1.25 | 0.10 | 60 | 81 | 7 | ")
    assert any("8 s with 60 threads" in line for line in lines)
