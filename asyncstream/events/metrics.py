"""One line of metrics an invocation, in CloudWatch's embedded metric format.

CloudWatch makes metrics of such lines in a function's log by itself: no request, no permission, and twenty
lines in place of a library. (Powertools 3.37 was measured: its metrics and its logger add 20 ms of CPU each
to a cold start, its event classes 40; what msgspec reads of an event here takes none of that.)
"""

import json
import os
import sys
import time

NAMESPACE = "asyncstream"
UNITS = {
    "FilesCopied": "Count",
    "FilesFailed": "Count",
    "BytesCopied": "Bytes",
    "PagesStored": "Count",
    "PagesFailed": "Count",
    "PagesEmpty": "Count",
    "RowsWritten": "Count",
    "Duration": "Seconds",
}


def write(trigger: str, engine: str, **measured: float) -> None:
    """Log an invocation's figures; outside Lambda, where nobody would read them, nothing.

    The function is the only dimension, as each combination of dimensions is a metric to be paid for.

    Args:
        trigger: what invoked it.
        engine: which engine ran.
        measured: figures by their names in `UNITS`.
    """
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if function is not None:
        values = {name: round(value, 3) for name, value in measured.items()}
        sys.stdout.write(json.dumps(document(function, trigger, engine, values, time.time())) + "\n")


def document(
    function: str, trigger: str, engine: str, values: dict[str, float], now: float
) -> dict[str, object]:
    """The line (CloudWatch user guide, "Specification: Embedded metric format").

    Args:
        function: the function's name.
        trigger: what invoked it; like the engine, to be searched for.
        engine: which engine ran.
        values: by their names in `UNITS`.
        now: seconds since the epoch.
    """
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    return {
        "_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [definition]},
        "FunctionName": function,
        "Trigger": trigger,
        "Engine": engine,
        **values,
    }
