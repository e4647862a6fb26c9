"""`ClientSettings`: what a transport's clients are made with. Imports no SDK."""

from msgspec import Struct

# A GET and a PUT. With one connection a part, asyncio's GETs would hold all that its PUTs wait for.
CONNECTIONS_PER_PART = 2


class Patience(Struct, frozen=True):
    """Seconds that a reply may take after the last byte of its request was sent, and the setting they are."""

    seconds: float
    setting: str


class ClientSettings(Struct, frozen=True):
    """What a transport's clients are made with; a change of it needs new clients.

    Attributes:
        endpoint_url: None for AWS itself (or AWS_ENDPOINT_URL_S3).
        max_concurrency: parts in flight; each holds a GET and a PUT.
        chunk_size: bytes read at a time.
        stall_timeout: seconds without a byte after which a connection counts as broken.
        reply_timeout: seconds that a reply may take after the last byte of its request was sent.
        complete_timeout: the same for CompleteMultipartUpload.
    """

    endpoint_url: str | None
    max_concurrency: int
    chunk_size: int
    stall_timeout: float
    reply_timeout: float
    complete_timeout: float

    def patience(self, operation: str, *, within_upload: bool) -> Patience:
        """Return how long a reply may take.

        Args:
            operation: S3's name for it.
            within_upload: whether an upload waits for it: a body is resumed while it is sent. S3 ends an
                upload that pauses for 20 seconds.
        """
        if operation == "CompleteMultipartUpload":
            return Patience(self.complete_timeout, "complete_timeout")
        if within_upload and self.stall_timeout < self.reply_timeout:
            return Patience(self.stall_timeout, "stall_timeout")
        return Patience(self.reply_timeout, "reply_timeout")
