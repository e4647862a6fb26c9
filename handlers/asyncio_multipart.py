"""Lambda function: copies S3 objects, the parts of all files at once, on asyncio."""

from typing import Any

from asyncstream import LambdaContext, handle_event


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Entry point; event and reply are described in asyncstream/events/schema.json."""
    return handle_event(event, context, engine="asyncio", multipart=True)
