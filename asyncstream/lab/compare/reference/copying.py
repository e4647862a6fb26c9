"""The usual code for copying, for comparison: boto3 as its documentation shows it, without asyncstream.

It accepts the same events as asyncstream's handlers.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config


def one_by_one(event: Any, context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda passes it
    """Copy the files one by one."""
    s3 = boto3.client("s3")
    for file in event["files"]:
        copy(s3, file)
    return {"copied": len(event["files"])}


def thread_pool(event: Any, context: Any) -> dict[str, int]:  # noqa: ARG001
    """Copy the files on a pool of threads."""
    s3 = boto3.client("s3", config=Config(max_pool_connections=50))
    with ThreadPoolExecutor(max_workers=event["config"]["max_concurrency"]) as pool:
        list(pool.map(lambda file: copy(s3, file), event["files"]))
    return {"copied": len(event["files"])}


def copy(s3: Any, file: Any) -> None:
    """Stream one file from its source to its destination."""
    source, destination = urlsplit(file["source"]), urlsplit(file["destination"])
    body = s3.get_object(Bucket=source.netloc, Key=source.path[1:])["Body"]
    s3.upload_fileobj(body, destination.netloc, destination.path[1:])
