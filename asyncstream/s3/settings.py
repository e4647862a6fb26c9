"""`ClientSettings`: what a transport's clients are made with, without the SDKs; made by `session.py`."""

from msgspec import Struct

# A GET and a PUT. With one connection a part, asyncio's GETs would hold all that its PUTs wait for.
CONNECTIONS_PER_PART = 2


class ClientSettings(Struct, frozen=True):
    """What a transport's clients are made with; a change of it needs new clients.

    Attributes:
        endpoint_url: None for AWS itself (or AWS_ENDPOINT_URL_S3).
        max_concurrency: parts in flight; each holds a GET and a PUT.
        chunk_size: bytes read at a time.
        stall_timeout: seconds without a byte after which a connection counts as broken.
    """

    endpoint_url: str | None
    max_concurrency: int
    chunk_size: int
    stall_timeout: float
