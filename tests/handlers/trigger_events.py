"""Events of each trigger, made from AWS's samples in `sample_events/`."""

import copy
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

SAMPLES = Path(__file__).with_name("sample_events")


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def s3_put(bucket: str, *keys: str, event_name: str = "ObjectCreated:Put") -> Any:
    """Return a notification for these keys, encoded as S3 does."""
    event = sample("s3_put")
    (record,) = event["Records"]
    event["Records"] = []
    for key in keys:
        each = copy.deepcopy(record) | {"eventName": event_name}
        each["s3"]["bucket"]["name"] = bucket
        each["s3"]["object"]["key"] = quote_plus(key, safe="/")
        event["Records"].append(each)
    return event


def object_created(bucket: str, key: str, kind: str = "Object Created") -> Any:
    """Return the event that S3 sends through EventBridge, with the key verbatim."""
    event = sample("eventbridge_object_created") | {"detail-type": kind}
    event["detail"]["bucket"]["name"] = bucket
    event["detail"]["object"]["key"] = key
    return event


def sqs(*bodies: Any, groups: str | None = None) -> Any:
    """Return a batch of messages m0, m1 and so on; `groups` has one letter for each message's FIFO group."""
    event = sample("sqs_receive_message")
    (record,) = event["Records"]
    event["Records"] = []
    for number, body in enumerate(bodies):
        each = copy.deepcopy(record)
        each["messageId"] = f"m{number}"
        each["body"] = body if isinstance(body, str) else json.dumps(body)
        if groups is not None:
            each["eventSourceARN"] += ".fifo"
            each["attributes"]["MessageGroupId"] = groups[number]
        event["Records"].append(each)
    return event


def sns(message: Any, **fields: Any) -> Any:
    """Return the envelope that SNS sends to a queue without raw message delivery."""
    topic = "arn:aws:sns:us-east-1:123456789012:new-objects"
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": topic,
        "Subject": "Amazon S3 Notification",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLEw6JRN...",
        "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService.pem",
        "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=a",
        **fields,
    }


def s3_batch(bucket: str, *keys: str, schema: str = "1.0") -> Any:
    """Return tasks t0, t1 and so on of a Batch Operations job."""
    event = sample("s3_batch_invocation" if schema == "1.0" else "s3_batch_invocation_2")
    (task,) = event["tasks"]
    place = {"s3BucketArn": f"arn:aws:s3:::{bucket}"} if schema == "1.0" else {"s3Bucket": bucket}
    event["tasks"] = [
        task | place | {"taskId": f"t{number}", "s3Key": quote_plus(key, safe="/"), "s3VersionId": None}
        for number, key in enumerate(keys)
    ]
    return event
