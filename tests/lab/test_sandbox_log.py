"""REPORT lines: the sandbox writes them like Lambda, and the parser reads Lambda's own."""

import pytest

from asyncstream.errors import InputError
from asyncstream.lab.sandbox.log import Report, billed, read_report, report_line

LAMBDAS_OWN = (
    "START RequestId: 7b2 Version: $LATEST\nREPORT RequestId: of the function's own\n"
    "END RequestId: 7b2\n"
    "REPORT RequestId: 7b2\tDuration: 1520.31 ms\tBilled Duration: 1833 ms\tMemory Size: 256 MB\t"
    "Max Memory Used: 72 MB\tInit Duration: 312.11 ms\t\n"
    "XRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 1a2b3c4d5e6f7081\tSampled: true\t\n"
)


def test_lambdas_own_line_is_read() -> None:
    assert read_report(LAMBDAS_OWN) == Report(
        request_id="7b2",
        seconds=1.52031,
        billed_seconds=1.833,
        memory_mb=256,
        peak_mb=72,
        init_seconds=0.31211,
        trace_id="1-5759e988-bd862e3fe1be46a994272793",
    )


# LogFormat JSON, as the developer guide shows it. The tail starts in the middle of a line.
LAMBDAS_JSON = (
    'essage": "cut off", "type": "platform.report"}\n'
    '{"time": "2026-11-24T05:31:01.234Z", "level": "INFO", "message": "not \\"platform.report\\""}\n'
    '{"time":"2026-11-24T05:31:01.240Z","type":"platform.runtimeDone","record":{"requestId":"7b2"}}\n'
    '{"time":"2026-11-24T05:31:01.241Z","type":"platform.report","record":{"requestId":"7b2","metrics":'
    '{"durationMs":1520.31,"billedDurationMs":1833,"memorySizeMB":256,"maxMemoryUsedMB":72,'
    '"initDurationMs":312.11},"tracing":{"spanId":"1a2b3c4d5e6f7081","type":"X-Amzn-Trace-Id","value":'
    '"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=1a2b3c4d5e6f7081;Sampled=1"},"status":"success"}}\n'
)


def test_json_logs_have_the_same_fields() -> None:
    assert read_report(LAMBDAS_JSON) == read_report(LAMBDAS_OWN)


def test_json_logs_have_the_error_that_ended_a_function() -> None:
    killed = LAMBDAS_JSON.replace('"status":"success"', '"status":"error","errorType":"Runtime.OutOfMemory"')
    report = read_report(killed.replace("Sampled=1", "Sampled=0").replace(',"initDurationMs":312.11', ""))
    assert (report.status, report.error_type) == ("error", "Runtime.OutOfMemory")
    assert (report.init_seconds, report.trace_id) == (None, None)


@pytest.mark.parametrize(
    "report",
    [
        Report(request_id="a", seconds=0.001, billed_seconds=0.002, memory_mb=128, peak_mb=40),
        Report(
            request_id="a",
            seconds=3.0,
            billed_seconds=3.5,
            memory_mb=128,
            peak_mb=128,
            init_seconds=0.5,
            status="error",
            error_type="Runtime.OutOfMemory",
            trace_id="1-5759e988-bd862e3fe1be46a994272793",
        ),
        Report(request_id="a", seconds=3.0, billed_seconds=3.0, memory_mb=1, peak_mb=1, status="timeout"),
    ],
)
def test_what_is_written_is_read_back(report: Report) -> None:
    assert read_report(report_line(report, "1a2b3c4d5e6f7081")) == report


def test_a_log_without_a_report_is_an_error() -> None:
    with pytest.raises(InputError, match="no REPORT; it ends with 'nothing"):
        read_report("nothing of the kind")


@pytest.mark.parametrize(
    ("seconds", "init", "paid"), [(0.0011, None, 0.002), (0.25, None, 0.25), (0.2501, 0.3, 0.551)]
)
def test_started_milliseconds_are_billed_and_the_init_with_them(
    seconds: float, init: float | None, paid: float
) -> None:
    assert billed(seconds, init) == paid
