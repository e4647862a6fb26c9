"""Queues of an SQS that others wrote: moto's, or MiniStack's."""

import itertools
import json
from typing import Any

import boto3
from botocore.config import Config

from .base import S3Server

_numbers = itertools.count(1)


class TestQueue:
    """A queue with dead letters, filled and read with a plain boto3 client.

    Args:
        server: any server with SQS at its endpoint.
        redrive: whether the queue itself names its dead letters.
    """

    __test__ = False

    def __init__(self, server: S3Server, *, redrive: bool = True) -> None:
        self.endpoint_url = server.endpoint_url
        self.client = boto3.Session(region_name="us-east-1").client(
            "sqs", endpoint_url=server.endpoint_url, config=Config(retries={"total_max_attempts": 1})
        )
        name = f"batches-{next(_numbers)}"
        self.dead_letters = self._create(f"{name}-dead", {})
        policy = {"deadLetterTargetArn": self.arn(self.dead_letters), "maxReceiveCount": "1000"}
        self.url = self._create(name, {"RedrivePolicy": json.dumps(policy)} if redrive else {})

    def close(self) -> None:
        for url in (self.url, self.dead_letters):
            self.client.delete_queue(QueueUrl=url)
        self.client.close()

    def arn(self, url: str) -> str:
        reply = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(reply["Attributes"]["QueueArn"])

    def send(self, body: str) -> None:
        self.client.send_message(QueueUrl=self.url, MessageBody=body)

    def bodies(self) -> list[str]:
        """Return the bodies of all visible messages, and delete them."""
        return [body for body, _ in self._take(self.url)]

    def dead(self) -> dict[str, dict[str, str]]:
        """Return the attributes of all dead letters by their bodies, and delete them.

        Raises:
            AssertionError: two have the same body.
        """
        found = self._take(self.dead_letters)
        by_body = dict(found)
        assert len(found) == len(by_body), found
        return by_body

    def counts(self) -> tuple[int, int]:
        """Return the number of visible and of hidden messages."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        reply = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return int(reply["Attributes"][names[0]]), int(reply["Attributes"][names[1]])

    def _create(self, name: str, attributes: dict[str, str]) -> str:
        return str(self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _take(self, url: str) -> list[tuple[str, dict[str, str]]]:
        found: list[tuple[str, dict[str, str]]] = []
        while messages := self._receive(url):
            for each in messages:
                attributes = each.get("MessageAttributes", {})
                found.append(
                    (each["Body"], {name: value["StringValue"] for name, value in attributes.items()})
                )
                self.client.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return found

    def _receive(self, url: str) -> list[dict[str, Any]]:
        reply = self.client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(reply.get("Messages", ()))
