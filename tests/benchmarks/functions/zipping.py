"""A Lambda function that packs all objects of a bucket into one ZIP archive."""

import os
from typing import Any, cast

from asyncstream import EngineName, S3Object, S3Prefix, TransferConfig, TransferSession, Zip

_session = TransferSession(cast("EngineName", os.environ["ENGINE"]))
_session.open()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Pack the bucket `source` into `key` of the bucket `destination`."""
    pairs = [(S3Prefix(event["source"], ""), Zip(S3Object(event["destination"], event["key"])))]
    report = _session.transfer(pairs, TransferConfig(**event["config"]))
    report.raise_for_failures()
    return {"requests": report.requests}
