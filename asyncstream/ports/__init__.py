"""The Protocols that the pipeline needs: engines, the store and its transports, trace spans.

All I/O methods are `async def`. Blocking implementations block and never suspend, so that one
`coro.send(None)` runs them to their end (`engines/driver.py`). asyncio awaits the same code.
"""

from asyncstream.ports.archives import Archives, Listing, Share
from asyncstream.ports.ends import (
    Body,
    ByteStream,
    Cut,
    Destination,
    Opened,
    Source,
    TimeLeft,
    Transport,
    for_ever,
)
from asyncstream.ports.engines import Annotation, Engine, Finished, Slots, Span, TaskFunction

__all__ = [
    "Annotation",
    "Archives",
    "Body",
    "ByteStream",
    "Cut",
    "Destination",
    "Engine",
    "Finished",
    "Listing",
    "Opened",
    "Share",
    "Slots",
    "Source",
    "Span",
    "TaskFunction",
    "TimeLeft",
    "Transport",
    "for_ever",
]
