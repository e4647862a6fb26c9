"""Lambda function: copies S3 objects, files on a thread pool, each as one stream."""

from typing import Any

from asyncstream import LambdaContext, handle_event


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Entry point; event and reply are described in asyncstream/events/schema.json."""
    return handle_event(event, context, engine="threads", multipart=False)
