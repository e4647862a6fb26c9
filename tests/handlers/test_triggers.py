"""The four functions that copy, invoked by each trigger: the exact reply, and the copies."""

from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3

from . import trigger_events
from .deliveries import ODD, Deliver, copied
from .trigger_events import object_created, s3_batch, s3_put, sns, sqs

TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"}


MISSING = "SourceNotFound: GetObject s3://{source}/in/none: there is no such object"


class TestS3Notification:
    def test_all_are_copied(self, deliver: Deliver, lab: LabS3, source: str, target: str) -> None:
        assert deliver(s3_put(source, "in/000000", ODD)) == {"copied": 2, "bytes": 1077}
        assert copied(lab, target) == {"in/000000", ODD}

    def test_one_that_fails_is_named_and_the_others_are_copied(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        reply = deliver(s3_put(source, "in/000000", "in/none", "in/000001"))

        assert reply.startswith(f"FilesFailed: 1 of 3 failed: s3://{source}/in/none: ")
        assert MISSING.format(source=source) in reply
        assert copied(lab, target) == {"in/000000", "in/000001"}

    def test_all_that_fail_are_named(self, deliver: Deliver, source: str) -> None:
        reply = deliver(s3_put(source, "in/none", "in/none2"))

        assert reply.startswith("FilesFailed: 2 of 2 failed: ")
        assert reply.count("SourceNotFound") == 2

    def test_a_malformed_record_fails_and_the_others_are_copied(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        event = s3_put(source, "in/000000", "in/000001")
        del event["Records"][0]["s3"]["object"]["key"]

        assert deliver(event) == (
            "FilesFailed: 1 of 2 failed: $.Records[0]: InputError: the event's $.Records[0] is malformed "
            "at $.s3.object: Object missing required field `key`"
        )
        assert copied(lab, target) == {"in/000001"}

    def test_a_folder_marker_succeeds_without_work(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        """The console creates `in/`; if the deployed source is `in/`, its copy would have no key."""
        event = s3_put(source, "in/", "in/sub/", "in/000000")
        for record in event["Records"][:2]:
            record["s3"]["object"]["size"] = 0

        assert deliver(event) == {"copied": 1, "bytes": 1000}
        assert copied(lab, target) == {"in/000000"}

    def test_what_is_no_new_object_is_refused_by_name(self, deliver: Deliver, source: str) -> None:
        assert "'ObjectRemoved:Delete' is not handled: send only 'ObjectCreated:' and" in deliver(
            s3_put(source, "in/000000", event_name="ObjectRemoved:Delete")
        )

    def test_the_test_event_is_ignored(self, deliver: Deliver, lab: LabS3) -> None:
        assert deliver(TEST_EVENT) == {"copied": 0, "bytes": 0}
        assert lab.stats()["operations"] == {}


class TestEventBridge:
    def test_an_object_is_copied_its_key_taken_verbatim(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        assert deliver(object_created(source, ODD)) == {"copied": 1, "bytes": 77}
        assert copied(lab, target) == {ODD}

    def test_one_that_fails_is_an_error(self, deliver: Deliver, source: str) -> None:
        reply = deliver(object_created(source, "in/none"))

        assert reply.startswith(f"FilesFailed: 1 of 1 failed: s3://{source}/in/none: ")
        assert MISSING.format(source=source) in reply

    def test_a_malformed_one_is_reported(self, deliver: Deliver, source: str) -> None:
        event = object_created(source, "in/000000")
        del event["detail"]["bucket"]

        assert deliver(event) == (
            "FilesFailed: 1 of 1 failed: $.detail: InputError: the event's detail is malformed at $: "
            "Object missing required field `bucket`"
        )

    @pytest.mark.parametrize(
        ("kind", "sender"), [("Object Deleted", "aws.s3"), ("Scheduled Event", "aws.events")]
    )
    def test_others_are_refused_by_name(self, deliver: Deliver, source: str, kind: str, sender: str) -> None:
        event = object_created(source, "in/000000", kind) | {"source": sender}

        assert f"{kind!r} from {sender!r} is not handled" in deliver(event)


class TestSqs:
    def test_all_kinds_of_messages_are_done(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        own = {"source_prefix": f"s3://{source}/big/", "destination": f"s3://{target}/out/b-"}
        bodies = [
            s3_put(source, "in/000000"),
            object_created(source, ODD),
            TEST_EVENT,
            own,
            own | {"destination": f"s3://{target}/out/c-", "config": {"multipart": False}},
        ]

        assert deliver(sqs(*bodies)) == {"batchItemFailures": []}
        assert copied(lab, target) == {"in/000000", ODD, "b-000000", "c-000000"}

    def test_messages_may_come_through_sns(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        own = {"source_prefix": f"s3://{source}/big/", "destination": f"s3://{target}/out/b-"}
        bodies = [s3_put(source, "in/000000"), object_created(source, ODD), TEST_EVENT, own]

        assert deliver(sqs(*map(sns, bodies))) == {"batchItemFailures": []}
        assert copied(lab, target) == {"in/000000", ODD, "b-000000"}

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (sns("", Type="SubscriptionConfirmation"), "confirm the subscription"),
            (sns("Hello from SNS!"), "the message in the SNS envelope is not JSON"),
            (sns("{}", Message=None), "the SNS envelope is malformed at $.Message"),
            (sns(sns("{}")), "unknown field `Type`"),
        ],
        ids=["confirmation", "no JSON", "no message", "envelope in an envelope"],
    )
    def test_an_envelope_without_an_event_fails_itself(
        self, deliver: Deliver, source: str, caplog: pytest.LogCaptureFixture, body: Any, says: str
    ) -> None:
        event = sqs(body, s3_put(source, "in/000000"))

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert says in caplog.text

    def test_one_that_fails_comes_again_alone(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        event = sqs(*(s3_put(source, key) for key in ("in/000000", "in/none", "in/000001")))

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
        assert copied(lab, target) == {"in/000000", "in/000001"}

    def test_all_that_fail_come_again(self, deliver: Deliver, source: str) -> None:
        event = sqs(*(s3_put(source, key) for key in ("in/none", "in/none2")))

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]}

    @pytest.mark.parametrize(
        "body",
        [
            "Hello from SQS!",
            {"files": []},
            {"files": [{"source": "s3://raw/a", "destination": "s3://clean/a"}], "report_uri": "s3://b/r"},
            {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete"}]},
            [],
            "[" * 3000,
        ],
        ids=["no JSON", "empty list", "report", "deleted", "list", "nested"],
    )
    def test_a_malformed_one_fails_itself_and_says_why_in_the_log(
        self, deliver: Deliver, source: str, caplog: pytest.LogCaptureFixture, body: Any
    ) -> None:
        event = sqs(body, s3_put(source, "in/000000"))

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert "m0 failed: InputError: " in caplog.text

    def test_a_malformed_batch_comes_again_whole(self, deliver: Deliver) -> None:
        event = sqs("{}")
        del event["Records"][0]["messageId"]

        assert deliver(event) == (
            "InputError: the event's $.Records[0] is malformed at $: "
            "Object missing required field `messageId`"
        )

    def test_the_same_object_twice_is_copied_once(self, deliver: Deliver, lab: LabS3, source: str) -> None:
        assert deliver(sqs(*[s3_put(source, "in/000000")] * 3)) == {"batchItemFailures": []}
        assert lab.stats()["operations"] == {"GetObject": 1, "PutObject": 1}

    def test_in_a_fifo_queue_nothing_overtakes_what_failed(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        keys = ["in/000000", "in/none", "in/000001", ODD, "in/000002", ODD]
        event = sqs(*(s3_put(source, key) for key in keys), groups="aabbaa")

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": m} for m in ("m1", "m4", "m5")]}
        assert copied(lab, target) == {"in/000000", "in/000001", ODD}

    def test_in_a_fifo_queue_nothing_overtakes_what_is_malformed(
        self, deliver: Deliver, lab: LabS3, source: str, target: str
    ) -> None:
        event = sqs(s3_put(source, "in/000000"), "?", s3_put(source, "in/000001"), groups="aaa")

        assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}
        assert copied(lab, target) == {"in/000000"}

    def test_without_time_left_all_come_again(self, deliver: Deliver, lab: LabS3, source: str) -> None:
        assert deliver(sqs(s3_put(source, "in/000000")), seconds=0.4) == {
            "batchItemFailures": [{"itemIdentifier": "m0"}]
        }
        assert lab.stats()["operations"] == {}


@pytest.mark.parametrize("schema", ["1.0", "2.0"])
class TestS3Batch:
    @staticmethod
    def reply(schema: str, *results: tuple[str, str]) -> dict[str, Any]:
        return {
            "invocationSchemaVersion": schema,
            "treatMissingKeysAs": "TemporaryFailure",
            "invocationId": trigger_events.sample("s3_batch_invocation")["invocationId"],
            "results": [
                {"taskId": f"t{number}", "resultCode": code, "resultString": text}
                for number, (code, text) in enumerate(results)
            ],
        }

    def test_all_succeed(self, deliver: Deliver, lab: LabS3, source: str, target: str, schema: str) -> None:
        assert deliver(s3_batch(source, "in/000000", ODD, schema=schema)) == self.reply(
            schema, ("Succeeded", "1000 bytes copied"), ("Succeeded", "77 bytes copied")
        )
        assert copied(lab, target) == {"in/000000", ODD}

    def test_one_fails(self, deliver: Deliver, source: str, schema: str) -> None:
        reply = deliver(s3_batch(source, "in/none", "in/000000", schema=schema))
        text = reply["results"][0]["resultString"]

        assert text.startswith(MISSING.format(source=source))
        assert reply == self.reply(schema, ("PermanentFailure", text), ("Succeeded", "1000 bytes copied"))

    def test_all_fail_and_may_be_tried_again_if_time_was_short(
        self, deliver: Deliver, source: str, schema: str
    ) -> None:
        text = "DeadlineExceeded: less than 0.5 s of the invocation are left: nothing was started"

        assert deliver(s3_batch(source, "in/000000", ODD, schema=schema), seconds=0.4) == self.reply(
            schema, *[("TemporaryFailure", text)] * 2
        )

    def test_a_malformed_task_fails_itself(self, deliver: Deliver, source: str, schema: str) -> None:
        event = s3_batch(source, "in/000000", "in/000000", schema=schema)
        event["tasks"][0]["s3Key"] = ""
        reply = deliver(event)

        assert [result["resultCode"] for result in reply["results"]] == ["PermanentFailure", "Succeeded"]
        assert "has no key" in reply["results"][0]["resultString"]

    def test_a_malformed_invocation_is_an_error(self, deliver: Deliver, source: str, schema: str) -> None:
        event = s3_batch(source, "in/000000", schema=schema)

        assert deliver(event | {"tasks": None}) == (
            "InputError: the event is malformed at $.tasks: Expected `array`, got `null`"
        )
        assert "schema '3.0' is unknown" in deliver(event | {"invocationSchemaVersion": "3.0"})

    def test_user_arguments_are_refused_by_name(self, deliver: Deliver, source: str, schema: str) -> None:
        event = s3_batch(source, "in/000000", schema=schema)
        event["job"]["userArguments"] = {"where": "elsewhere"}

        assert "the user argument 'where'" in deliver(event)["results"][0]["resultString"]


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"Records": [{"eventSource": "aws:kinesis"}]}, "from aws:kinesis"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "from aws:sns"),
        ({"Records": [{"eventSource": "aws:sqs"}, {"eventSource": "aws:s3"}]}, "from aws:s3, aws:sqs"),
        ({"Records": []}, "from no source"),
        ({"Records": "?"}, "from None"),
    ],
)
def test_unknown_sources_are_refused_by_name(deliver: Deliver, lab: LabS3, event: Any, named: str) -> None:
    assert deliver(event).startswith(f"InputError: the event's records are {named}")
    assert lab.stats()["operations"] == {}
