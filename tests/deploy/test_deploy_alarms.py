"""`deploy/template.yaml`: the alarms and the dashboard."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from asyncstream.events.metrics import NAMESPACE, UNITS

from .cloudformation import GATHERS, deploy, written

ALARMS = {
    # alarm: metric and statistic over all four functions
    "Errors": ("Errors", "Sum"),
    "Throttles": ("Throttles", "Sum"),
    "NearTimeout": ("Duration", "Maximum"),
}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:night-shift"


def value(expression: str, **data: Sequence[float | None]) -> list[float]:
    """Return CloudWatch's result of the expression, minute by minute; None is a minute without data."""
    minutes = len(next(iter(data.values())))
    functions: dict[str, object] = {
        "FILL": lambda series, filling: [filling if each is None else each for each in series],
        "SUM": lambda series: Series(map(sum, zip(*series, strict=True))),
        "MAX": lambda series: Series(map(max, zip(*series, strict=True))),
    }
    found = eval(expression, {"__builtins__": {}}, functions | data)
    assert len(found) == minutes
    return list(found)


class Series(list[float]):
    """A series that can be multiplied by a number."""

    def __rmul__(self, factor: float) -> "Series":  # type: ignore[override]
        return Series(factor * each for each in self)


def metrics_of(alarm: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the expression of an alarm and its metrics by id."""
    (expression,) = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
    return expression, {each["Id"]: each for each in alarm["Metrics"] if "MetricStat" in each}


@pytest.mark.parametrize("given", [{}, GATHERS], ids=["", "gathering"])
@pytest.mark.parametrize("name", ALARMS)
class TestFunctionAlarms:
    def test_all_functions_are_watched(self, name: str, given: dict[str, str]) -> None:
        stack = deploy(**given)
        _, metrics = metrics_of(stack[name])
        watched = [metric["MetricStat"]["Metric"]["Dimensions"] for metric in metrics.values()]

        assert sorted(stack.names.values()) == sorted(
            dimension["Value"] for dimensions in watched for dimension in dimensions
        )
        for metric in metrics.values():
            assert metric["ReturnData"] is False
            assert metric["MetricStat"]["Metric"]["Namespace"] == "AWS/Lambda"
            assert metric["MetricStat"]["Metric"]["MetricName"] == ALARMS[name][0]
            assert (metric["MetricStat"]["Stat"], metric["MetricStat"]["Period"]) == (ALARMS[name][1], 60)

    def test_one_function_is_enough_while_the_others_have_no_data(
        self, name: str, given: dict[str, str]
    ) -> None:
        alarm = deploy(Timeout=100, **given)[name]
        expression, metrics = metrics_of(alarm)

        for busy in metrics:
            idle: dict[str, list[float | None]] = {each: [None, None] for each in metrics}
            before, then = value(expression, **idle | {busy: [0, 90_001]})
            assert before <= alarm["Threshold"] < then

    def test_late_data_are_still_seen(self, name: str, given: dict[str, str]) -> None:
        alarm = deploy(**given)[name]

        assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (5, 1)


def test_near_timeout_means_nine_tenths_of_it() -> None:
    alarm = deploy(Timeout=900)["NearTimeout"]
    expression, metrics = metrics_of(alarm)
    shares = value(expression, **{name: [809_000.0, 811_000.0] for name in metrics})

    assert [share > alarm["Threshold"] for share in shares] == [False, True]


def test_the_first_dead_letter_is_told() -> None:
    stack = deploy()
    alarm = stack["DeadLetters"]

    assert alarm["Namespace"] == "AWS/SQS"
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": stack.outputs["DeadLetterQueueUrl"]}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_alarms_notify_the_topic_if_there_is_one() -> None:
    silent = deploy().of_type("AWS::CloudWatch::Alarm")
    heard = deploy(AlarmTopicArn=TOPIC).of_type("AWS::CloudWatch::Alarm")

    assert silent.keys() == heard.keys() == {*ALARMS, "DeadLetters"}
    assert all("AlarmActions" not in alarm for alarm in silent.values())
    assert all(alarm["AlarmActions"] == [TOPIC] for alarm in heard.values())
    assert all(alarm["AlarmDescription"].endswith(".") for alarm in heard.values())


def test_without_alarms_there_is_none_and_all_else_stays() -> None:
    kept, watched = deploy(Alarms="no"), deploy(AlarmTopicArn=TOPIC)

    assert watched.resources.keys() - kept.resources.keys() == {*ALARMS, "DeadLetters"}
    assert kept["Dashboard"] == watched["Dashboard"]


@pytest.mark.parametrize("name", [*ALARMS, "DeadLetters"])
def test_silence_is_no_alarm(name: str) -> None:
    assert deploy()[name]["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize(
    ("arn", "fits"),
    [
        ("", True),
        (TOPIC, True),
        (TOPIC.replace("arn:aws:", "arn:aws-cn:"), True),
        ("night-shift", False),
        (TOPIC.replace("sns", "sqs"), False),
    ],
)
def test_a_topic_is_named_by_its_arn(arn: str, fits: bool) -> None:
    assert bool(re.fullmatch(written()["Parameters"]["AlarmTopicArn"]["AllowedPattern"], arn)) is fits


@pytest.mark.parametrize("given", [{}, GATHERS], ids=["", "gathering"])
class TestDashboard:
    @staticmethod
    def widgets(given: dict[str, str]) -> list[dict[str, Any]]:
        return list(json.loads(deploy(**given)["Dashboard"]["DashboardBody"])["widgets"])

    def test_each_chart_shows_all_functions_that_have_its_metric(self, given: dict[str, str]) -> None:
        for widget in self.widgets(given):
            rows = widget["properties"]["metrics"]
            web, own = rows[0][1].startswith(("Pages", "Rows")), rows[0][0] == NAMESPACE
            names = deploy(**given).names
            assert rows[0][2] == "FunctionName"
            assert all(row[0] == "..." for row in rows[1:])
            assert {row[-2] for row in rows} == {
                name for key, name in names.items() if not own or key.startswith("Web") == web
            }
            assert len({row[-1]["label"] for row in rows}) == len(rows)

    def test_the_packages_own_metrics_are_those_it_writes(self, given: dict[str, str]) -> None:
        shown = {tuple(widget["properties"]["metrics"][0][:2]) for widget in self.widgets(given)}
        own = {name for namespace, name in shown if namespace == NAMESPACE}

        assert {namespace for namespace, _ in shown} == {"AWS/Lambda", NAMESPACE}
        assert own
        assert own <= UNITS.keys()

    def test_charts_neither_overlap_nor_leave_the_grid(self, given: dict[str, str]) -> None:
        cells = [
            (column, row)
            for each in self.widgets(given)
            for column in range(each["x"], each["x"] + each["width"])
            for row in range(each["y"], each["y"] + each["height"])
        ]

        assert len(cells) == len(set(cells))
        assert max(column for column, _ in cells) < 24
