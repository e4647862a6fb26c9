"""The text of the page, with all measurements. test_page_in_browser.py tests how a browser shows it."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.html import page
from asyncstream.lab.report.measurement import Failure
from asyncstream.lab.report.spans import Trace
from asyncstream.lab.report.xray import parse_trace

from .page_builders import (
    KILLED,
    SIZES,
    a_plain_comparison,
    a_sweep,
    a_trace,
    a_traced_run,
    a_web_page,
)
from .report_builders import (
    a_comparison,
    a_comparison_on_aws,
    a_comparison_with_faults,
    a_run,
    a_section,
    measured,
)
from .xray_fixtures import NAMES, documents_from

VOID = {"meta", "link", "br"}
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """A parser that checks how elements nest, and collects their text like a browser."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data

    def details(self) -> list[str]:
        return [detail for _, attributes in self.elements if (detail := attributes.get("data-detail"))]


def read(comparison: Comparison) -> Reader:
    reader = Reader()
    reader.feed(page(comparison))
    assert reader.open == []
    return reader


def test_a_sweep_shows_every_way_in_every_size() -> None:
    found = read(a_sweep())
    for size in SIZES:
        assert any(detail.startswith(f"asyncio + multipart at {size:,} MB: ") for detail in found.details())
    assert "boto3 one by one at 128 MB: out of memory" in found.details()
    assert "A cross means that the function failed at that size." in found.text
    assert "Seconds, logarithmic" in found.text


def test_the_page_says_its_verdict_first() -> None:
    text = read(a_sweep()).text
    assert text.index("Fastest: ") < text.index("Time and cost against memory")


def test_memory_is_shown_at_the_scarcest_size_against_its_cap() -> None:
    found = read(a_sweep())
    assert "Memory over time at 128 MB" in found.text
    assert "boto3 one by one: peak 117 MiB of 128 MiB, out of memory" in found.details()
    assert sum(attributes.get("class") == "cap" for _, attributes in found.elements) == 2


def test_a_comparison_in_one_size_shows_bars() -> None:
    found = read(a_plain_comparison())
    assert "Cost of 1,000 runs: compute, then requests" in found.text
    assert sum(detail.startswith("threads: 11.0 s") for detail in found.details()) == 1
    assert not [detail for detail in found.details() if " MB: " in detail]


def test_functions_in_one_size_each_are_bars_with_start_times() -> None:
    """If deployed functions have several sizes, the chart has lines."""
    text = page(a_comparison_on_aws(512))
    assert '<div class="bars"' in text
    assert '<svg class="lines"' not in text
    assert '<th scope="col">start s</th>' in text
    assert text.count("<td>0.31</td>") == 3
    assert '<svg class="lines"' in page(a_comparison_on_aws(512, 1769))


def test_faults_are_columns_where_there_were_to_be_any() -> None:
    text = page(a_comparison_with_faults())
    assert '<th scope="col">faults</th><th scope="col">left open</th>' in text
    assert "<td>20</td><td>1,234</td><td>7</td>" in text
    assert text.count('<td colspan="14" class="failed">') == 1
    assert '<th scope="col">faults</th>' not in page(a_plain_comparison())


def test_parts_are_shown_with_what_is_within_them() -> None:
    (part, *_) = (detail for detail in read(a_sweep()).details() if detail.startswith("part 2: "))
    assert [line.split(":")[0] for line in part.splitlines()] == [
        "part 2",
        "bytes",
        "retries",
        "GET",
        "body",
        "PUT",
    ]


def with_trace(trace: Trace) -> Reader:
    return read(a_comparison([a_section(measured("threads", a_traced_run(2.0, trace=trace)))]))


@pytest.mark.parametrize("name", NAMES)
def test_documents_of_the_service_look_like_local_ones(name: str) -> None:
    trace = documents_from(name)
    local = parse_trace({"Id": trace["Id"], "Segments": [*sent_alone(trace)]})
    assert (
        with_trace(parse_trace(trace | {"LimitExceeded": False})).details()
        == with_trace(local).details()
        != []
    )


def sent_alone(trace: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield each span as a document of its own: without X-Ray, nothing merges the documents."""
    waiting = [json.loads(segment["Document"]) for segment in trace["Segments"]]
    while waiting:
        document = waiting.pop()
        parent = {"parent_id": document["id"], "type": "subsegment"}
        waiting += [within | parent for within in document.pop("subsegments", [])]
        yield {"Id": document["id"], "Document": json.dumps(document)}


@pytest.mark.parametrize(
    ("name", "expected_message"),
    [
        ("in_progress", "asyncstream: in progress, from"),
        ("inferred", "reported by its caller"),
        ("nested", "failed: SourceNotFound: s3://raw/b does not exist"),
        ("merged", "part 1: "),
    ],
)
def test_what_is_special_of_a_span_is_reported(name: str, expected_message: str) -> None:
    assert expected_message in "\n".join(with_trace(parse_trace(documents_from(name))).details())


def test_what_the_service_dropped_is_reported() -> None:
    assert (
        "X-Ray dropped a part of the trace" in with_trace(parse_trace(documents_from("limit_exceeded"))).text
    )


def test_nothing_from_outside_becomes_markup() -> None:
    trace = a_trace(1.0, key=f"s3://raw/{HOSTILE}{{}}")
    row = measured("threads", a_traced_run(1.0, trace=trace), Failure(HOSTILE), label=HOSTILE)
    comparison = a_comparison([a_section(row)], ended_early=HOSTILE)
    found = read(comparison)
    assert [tag for tag, _ in found.elements].count("script") == 1
    assert not [attributes for tag, attributes in found.elements if tag == "img" or "onerror" in attributes]
    assert HOSTILE in found.text  # shown as plain text


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(a_sweep())
    assert not re.search(r"""\b(?:src|href)=(?!"data:,")|@import|url\(|https?://""", text)
    assert len(text) < 200_000


def test_the_script_is_the_only_one_that_the_page_allows() -> None:
    (policy,) = (
        attributes["content"]
        for tag, attributes in read(a_sweep()).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_the_same_comparison_is_the_same_page() -> None:
    assert page(a_sweep()) == page(a_sweep())


@pytest.mark.parametrize(
    "comparison",
    [
        a_comparison([]),
        a_comparison([a_section()]),
        a_comparison([a_section(measured("threads", KILLED, memory_mb=128))], memory=[128]),
        a_comparison([a_section(measured("threads", Failure("Boom: no")))], ended_early="Ctrl-C"),
    ],
    ids=["no workload", "no row", "all killed", "all failed"],
)
def test_with_nothing_measured_the_page_says_so(comparison: Comparison) -> None:
    found = read(comparison)
    assert found.text.count("Nothing was measured.") == len(comparison.sections)
    assert "How this was measured" in found.text


def test_an_early_end_is_shown_at_the_top() -> None:
    section = a_section(measured("threads", a_run()))
    text = read(a_comparison([section], ended_early="Ctrl-C")).text
    assert text.index("Ended early (Ctrl-C)") < text.index("10 x 100 MB", text.index("Which way"))


def test_a_run_without_a_trace_or_samples_is_shown_without_them() -> None:
    text = read(a_comparison([a_section(measured("threads", a_run()))])).text
    assert "Timeline" not in text
    assert "Memory over time" not in text
    assert "All figures" in text


def test_pages_are_shown_with_columns_and_traces_of_their_own() -> None:
    found = read(a_web_page())
    assert "times the floor" in found.text
    assert "fetching" in found.text
    assert "writing a batch of rows" in found.text
    assert "8 s with 60 threads" in found.text
    assert "requests, USD" not in found.text
    assert "compute, then requests" not in found.text
    assert "item 1" in found.text
    assert any(detail.startswith("batch: ") for detail in found.details())
