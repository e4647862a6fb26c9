"""The line of metrics that CloudWatch extracts from a function's log."""

import json

import pytest

from asyncstream.events import metrics


def test_the_line_is_in_the_embedded_metric_format() -> None:
    values = {"FilesCopied": 2, "FilesFailed": 1, "BytesCopied": 10, "Duration": 0.5}

    assert metrics.document("copy", "sqs", "threads", values, 1700000000.1234) == {
        "_aws": {
            "Timestamp": 1700000000123,
            "CloudWatchMetrics": [
                {
                    "Namespace": "asyncstream",
                    "Dimensions": [["FunctionName"]],
                    "Metrics": [
                        {"Name": "FilesCopied", "Unit": "Count"},
                        {"Name": "FilesFailed", "Unit": "Count"},
                        {"Name": "BytesCopied", "Unit": "Bytes"},
                        {"Name": "Duration", "Unit": "Seconds"},
                    ],
                }
            ],
        },
        "FunctionName": "copy",
        "Trigger": "sqs",
        "Engine": "threads",
        **values,
    }


def test_it_is_written_in_lambda_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    metrics.write("sqs", "threads", FilesCopied=1, BytesCopied=10, Duration=0.12345)
    assert capsys.readouterr().out == ""

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "copy")
    metrics.write("sqs", "threads", FilesCopied=1, BytesCopied=10, Duration=0.12345)
    line = json.loads(capsys.readouterr().out)
    assert (line["FilesCopied"], line["BytesCopied"], line["Duration"]) == (1, 10, 0.123)
