"""`deploy/template.yaml`: the triggers of the winner, and refused stacks that would invoke themselves."""

import json
from typing import Any

import pytest

from asyncstream import InputError
from asyncstream.events.deployment import Deployment
from asyncstream.locations import S3Object

from .cloudformation import FUNCTIONS, PSEUDO, deploy, written

QUEUE = "AWS::SQS::Queue"
OF_THE_TRIGGER = {"Queue", "QueuePolicy", "NewObjects", "QueueToWinner"}
ONE_BUCKET = {"Trigger": "yes", "SourceBucketName": "raw-1", "DestinationBucketName": "raw-1"}


def arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:{name}"


def test_without_a_trigger_nothing_of_it_is_made() -> None:
    assert deploy(Trigger="yes").resources.keys() - deploy().resources.keys() == OF_THE_TRIGGER


@pytest.mark.parametrize("winner", written()["Parameters"]["Winner"]["AllowedValues"])
def test_the_winner_is_what_queue_and_state_machine_invoke(winner: str) -> None:
    stack = deploy(Trigger="yes", Winner=winner)
    name = arn("lambda", f"function:{stack.names[FUNCTIONS[winner]]}")
    statements = stack["ManyFilesPolicy"]["PolicyDocument"]["Statement"]
    (allowed,) = [s["Resource"] for s in statements if s["Action"] == "lambda:InvokeFunction"]

    assert stack["QueueToWinner"]["FunctionName"] == name
    assert stack["ManyFiles"]["DefinitionSubstitutions"]["Winner"] == name
    assert allowed == name


def test_every_function_can_be_the_winner() -> None:
    assert written()["Parameters"]["Winner"]["AllowedValues"] == list(FUNCTIONS)


class TestQueue:
    @pytest.mark.parametrize("timeout", [3, 60, 900, 1800])
    def test_a_message_stays_hidden_as_long_as_a_function_may_run(self, timeout: int) -> None:
        stack = deploy(Trigger="yes", Timeout=timeout)
        longest = max(function["Timeout"] for function in stack.functions.values())

        assert longest == timeout
        assert stack["Queue"]["VisibilityTimeout"] >= longest  # otherwise Lambda refuses the mapping

    def test_messages_that_keep_failing_go_to_the_dead_letter_queue(self) -> None:
        stack = deploy(Trigger="yes")
        redrive = stack["Queue"]["RedrivePolicy"]

        # Lambda's guide recommends at least five, because a throttled invocation counts as a receive.
        assert redrive["maxReceiveCount"] >= 5
        assert redrive["deadLetterTargetArn"] == arn("sqs", stack.outputs["DeadLetterQueueUrl"])
        # A moved message keeps its age, so the dead letter queue must keep messages at least as long.
        kept = stack["DeadLetterQueue"]["MessageRetentionPeriod"]
        assert kept >= stack["Queue"]["MessageRetentionPeriod"]

    def test_both_are_encrypted(self) -> None:
        assert all(queue["SqsManagedSseEnabled"] for queue in deploy(Trigger="yes").of_type(QUEUE).values())

    def test_the_function_says_which_messages_failed(self) -> None:
        stack = deploy(Trigger="yes", TriggerConcurrency=7)
        mapping = stack["QueueToWinner"]

        assert mapping["EventSourceArn"] == arn("sqs", stack.outputs["QueueUrl"])
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": 7}


class TestNewObjects:
    @pytest.mark.parametrize("bucket", ["", "raw-1"])
    def test_those_under_the_trigger_prefix_go_to_the_queue(self, bucket: str) -> None:
        stack = deploy(Trigger="yes", SourceBucketName=bucket, TriggerPrefix="in/new/")
        rule = stack["NewObjects"]
        made = stack.outputs["SourceUri"].removeprefix("s3://").rstrip("/")

        assert rule["EventPattern"] == {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [bucket or made]}, "object": {"key": [{"prefix": "in/new/"}]}},
        }
        assert [target["Arn"] for target in rule["Targets"]] == [arn("sqs", stack.outputs["QueueUrl"])]

    def test_the_rule_alone_may_send_to_the_queue(self) -> None:
        stack = deploy(Trigger="yes")
        policy = stack["QueuePolicy"]
        (statement,) = policy["PolicyDocument"]["Statement"]

        assert policy["Queues"] == [stack.outputs["QueueUrl"]]
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        (source,) = statement["Condition"]["ArnEquals"].values()
        assert source.startswith(arn("events", "rule/asyncstream-NewObjects-"))


class TestLoops:
    @pytest.mark.parametrize(
        ("prefixes", "refused"),
        [
            ({"DestinationPrefix": "out/"}, 0),
            ({"DestinationPrefix": "incoming/"}, 1),
            ({"DestinationPrefix": ""}, 1),
            ({"DestinationPrefix": "out/", "TriggerPrefix": ""}, 1),
        ],
    )
    def test_one_bucket_needs_prefixes_that_differ(self, prefixes: dict[str, str], refused: int) -> None:
        assert len(deploy(**ONE_BUCKET, **prefixes).refusals) == refused
        assert deploy(**ONE_BUCKET | {"Trigger": "no"}, **prefixes).refusals == []
        assert deploy(**ONE_BUCKET | {"DestinationBucketName": "clean-1"}, **prefixes).refusals == []

    @pytest.mark.parametrize("trigger", ["no", "yes"])
    def test_one_bucket_takes_copies_beside_its_trigger_prefix(self, trigger: str) -> None:
        """The function writes into the bucket that it reads."""
        stack = deploy(**ONE_BUCKET | {"Trigger": trigger}, DestinationPrefix="clean/")
        source = S3Object("raw-1", "incoming/a.csv")

        for function in stack.functions.values():
            deployed = Deployment.from_env(function["Environment"]["Variables"])
            assert deployed.pair(source) == (source, S3Object("raw-1", "clean/incoming/a.csv"))

    def test_buckets_that_the_stack_makes_are_two(self) -> None:
        assert deploy(Trigger="yes", TriggerPrefix="").refusals == []

    @pytest.mark.parametrize("destination", ["incoming/done/", "incoming/"])
    def test_what_rules_cannot_tell_the_function_refuses(self, destination: str) -> None:
        stack = deploy(**ONE_BUCKET, DestinationPrefix=destination)

        for function in stack.functions.values():
            deployed = Deployment.from_env(function["Environment"]["Variables"])
            with pytest.raises(InputError, match="invoke itself endlessly"):
                deployed.pair(S3Object("raw-1", "incoming/a.csv"))


class TestStateMachine:
    def test_its_executions_can_be_redriven(self) -> None:
        assert deploy()["ManyFiles"]["StateMachineType"] == "STANDARD"

    def test_results_lie_beside_the_copies(self) -> None:
        given = {"DestinationBucketName": "clean-1", "DestinationPrefix": "out/"}
        substitutions = deploy(**given)["ManyFiles"]["DefinitionSubstitutions"]

        assert substitutions["ResultBucket"] == "clean-1"
        assert substitutions["ResultPrefix"] == "out/many-files/"

    def test_nothing_is_left_to_be_substituted(self) -> None:
        machine: dict[str, Any] = deploy()["ManyFiles"]
        text = machine["DefinitionString"]

        for name in machine["DefinitionSubstitutions"]:
            text = text.replace(f"${{{name}}}", "x")
        assert "${" not in text
        assert json.loads(text)["StartAt"] == "Defaults"
