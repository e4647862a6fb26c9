"""A task of an S3 Batch Operations job, invocation schema 1.0 and 2.0. Does no I/O.

A task copies the version that the job's manifest names. The reply says whether each task succeeded, failed
temporarily (S3 then tries it again) or failed permanently (user guide, "Invoke AWS Lambda function").
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from msgspec import Struct

from asyncstream.error_texts import full_message
from asyncstream.errors import AsyncstreamError, ConfigError, InputError
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, ItemOutcome
from asyncstream.events.reading import read
from asyncstream.locations import S3Object
from asyncstream.runs.outcomes import is_temporary
from asyncstream.shown import shown

SCHEMAS = ("1.0", "2.0")
# The completion report has one line per task.
MAX_RESULT = 1024


class _Task(
    Struct,
    frozen=True,
    rename={
        "task_id": "taskId",
        "key": "s3Key",
        "version_id": "s3VersionId",
        "bucket": "s3Bucket",
        "bucket_arn": "s3BucketArn",
    },
):
    task_id: str
    key: str
    version_id: str | None = None
    bucket: str | None = None  # schema 2.0
    bucket_arn: str | None = None  # schema 1.0


class _Job(Struct, frozen=True, rename={"user_arguments": "userArguments"}):
    user_arguments: Mapping[str, str] | None = None


class _Invocation(
    Struct, frozen=True, rename={"schema": "invocationSchemaVersion", "invocation_id": "invocationId"}
):
    schema: str
    invocation_id: str
    tasks: list[_Task]
    job: _Job = _Job()


def parse_invocation(event: Any, deployment: Deployment) -> list[Item]:
    """Return the tasks of an invocation. S3 currently sends one task per invocation.

    Raises:
        InputError: the schema is unknown, or the event is malformed. S3 counts its tasks as failed.
        ConfigError: the function is deployed without a destination.
    """
    invocation = read(event, _Invocation)
    if invocation.schema not in SCHEMAS:
        raise InputError(
            f"S3 Batch Operations schema {shown(invocation.schema)} is unknown: use {' or '.join(SCHEMAS)}"
        )
    return [_item(task, invocation.job, deployment) for task in invocation.tasks]


def reply(event: Any, outcomes: Sequence[ItemOutcome]) -> dict[str, Any]:
    """Return a result for each task."""
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        # If S3 misses a task's result, it tries the task again.
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": event["invocationId"],
        "results": [_result(outcome) for outcome in outcomes],
    }


def _item(task: _Task, job: _Job, deployment: Deployment) -> Item:
    try:
        if job.user_arguments:
            name = next(iter(job.user_arguments))
            raise InputError(f"the job has the user argument {shown(name)}: remove it, as none is supported")
        bucket = task.bucket or (task.bucket_arn or "").rpartition(":::")[2]
        source = S3Object(bucket, unquote_plus(task.key), task.version_id or None)
        return Item(task.task_id, (deployment.pair(source),))
    except ConfigError:
        raise
    except AsyncstreamError as error:
        return Item(task.task_id, error=error)


def _result(outcome: ItemOutcome) -> dict[str, str]:
    if outcome.error is None:
        code, text = "Succeeded", f"{outcome.bytes} bytes copied"
    else:
        code = "TemporaryFailure" if is_temporary(outcome.error) else "PermanentFailure"
        text = f"{type(outcome.error).__name__}: {full_message(outcome.error)}"
    return {"taskId": outcome.item.name, "resultCode": code, "resultString": text[:MAX_RESULT]}
