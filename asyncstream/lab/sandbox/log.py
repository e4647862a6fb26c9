"""Writes and reads Lambda's own log lines, in Lambda's words. Does no I/O.

The same code reads logs of the sandbox and of deployed functions.
"""

import json
import math
import re
from typing import Any

from msgspec import Struct

from asyncstream.errors import InputError

# `LogType: Tail` returns at most the last 4 KB (Lambda API reference, Invoke).
TAIL_BYTES = 4096


class Report(Struct, frozen=True, kw_only=True):
    """Lambda's report of an invocation, from its REPORT line.

    Attributes:
        request_id: the ID of the invocation.
        seconds: the duration of the invocation.
        billed_seconds: the duration plus the init of a cold start, in whole milliseconds.
        memory_mb: the memory of the function, in MB.
        peak_mb: the most memory it used.
        init_seconds: duration of the environment's start; None for a warm start.
        status: "timeout" or "error"; None for success.
        error_type: such as "Runtime.OutOfMemory".
        trace_id: X-Ray's ID, if the invocation was sampled.
    """

    request_id: str
    seconds: float
    billed_seconds: float
    memory_mb: int
    peak_mb: int
    init_seconds: float | None = None
    status: str | None = None
    error_type: str | None = None
    trace_id: str | None = None


def billed(seconds: float, init_seconds: float | None) -> float:
    """Return the billed seconds, which include the init since August 2025."""
    return math.ceil(round((seconds + (init_seconds or 0)) * 1000, 6)) / 1000


def start_line(request_id: str) -> str:
    """Return the line before the function's own lines."""
    return f"START RequestId: {request_id} Version: $LATEST\n"


def end_line(request_id: str) -> str:
    """Return the line after the function's own lines."""
    return f"END RequestId: {request_id}\n"


def report_line(report: Report, segment_id: str | None) -> str:
    """Return the last line of an invocation, or the last two if it was traced."""
    fields = [
        f"REPORT RequestId: {report.request_id}",
        f"Duration: {report.seconds * 1000:.2f} ms",
        f"Billed Duration: {report.billed_seconds * 1000:.0f} ms",
        f"Memory Size: {report.memory_mb} MB",
        f"Max Memory Used: {report.peak_mb} MB",
    ]
    if report.init_seconds is not None:
        fields.append(f"Init Duration: {report.init_seconds * 1000:.2f} ms")
    if report.status is not None:
        fields.append(f"Status: {report.status}")
    if report.error_type is not None:
        fields.append(f"Error Type: {report.error_type}")
    line = "\t".join(fields) + "\t\n"
    if report.trace_id is None:
        return line
    return f"{line}XRAY TraceId: {report.trace_id}\tSegmentId: {segment_id}\tSampled: true\t\n"


def read_report(log: str) -> Report:
    """Return the report at the end of a log, in Lambda's log format text or JSON.

    Raises:
        InputError: the log has no report.
    """
    for number, line in reversed(list(enumerate(log.splitlines(keepends=True)))):
        if line.startswith("REPORT RequestId: "):
            return _parse_text_report(line, "".join(log.splitlines(keepends=True)[number:]))
        record = _platform_report(line)
        if record is not None:
            return _parse_json_report(record)
    raise InputError(f"the log has no REPORT; it ends with {log[-200:]!r}")


def _parse_text_report(line: str, rest: str) -> Report:
    """Return the report of a REPORT line. `rest` starts with it and may have a trace's line."""
    fields = dict(re.findall(r"([A-Z][A-Za-z ]+): ([^\t\n]+)", line.removeprefix("REPORT ")))
    trace = re.search(r"^XRAY TraceId: (\S+).*Sampled: true", rest, re.MULTILINE)
    init = fields.get("Init Duration")
    return Report(
        request_id=fields["RequestId"],
        seconds=_number(fields["Duration"]) / 1000,
        billed_seconds=_number(fields["Billed Duration"]) / 1000,
        memory_mb=int(_number(fields["Memory Size"])),
        peak_mb=int(_number(fields["Max Memory Used"])),
        init_seconds=None if init is None else _number(init) / 1000,
        status=fields.get("Status"),
        error_type=fields.get("Error Type"),
        trace_id=trace[1] if trace else None,
    )


def _platform_report(line: str) -> Any:
    """Return the record of a `platform.report` event (Lambda Telemetry API reference), or None."""
    if not line.startswith("{") or '"platform.report"' not in line:
        return None
    try:
        event = json.loads(line)
    except ValueError:  # a log's tail may start in the middle of a line, or a function may print these words
        return None
    return event.get("record") if event.get("type") == "platform.report" else None


def _parse_json_report(record: Any) -> Report:
    metrics = record["metrics"]
    trace = re.search(r"Root=([^;]+).*Sampled=1", record.get("tracing", {}).get("value", ""))
    init = metrics.get("initDurationMs")
    status = record.get("status")
    return Report(
        request_id=record["requestId"],
        seconds=metrics["durationMs"] / 1000,
        billed_seconds=metrics["billedDurationMs"] / 1000,
        memory_mb=metrics["memorySizeMB"],
        peak_mb=metrics["maxMemoryUsedMB"],
        init_seconds=None if init is None else init / 1000,
        status=None if status == "success" else status,
        error_type=record.get("errorType"),
        trace_id=trace[1] if trace else None,
    )


def _number(text: str) -> float:
    return float(text.split(maxsplit=1)[0])
