"""`ClientSettings`: the settings of a transport's clients. Imports no SDK."""

from msgspec import Struct

from asyncstream.s3.access import S3Access

# One for the GET and one for the PUT. With fewer, asyncio's GETs could take all connections, and their PUTs
# would wait for ever.
CONNECTIONS_PER_PART = 2


class Patience(Struct, frozen=True):
    """How long a reply may take after the last byte of its request.

    Attributes:
        seconds: the most seconds.
        setting: the name of the setting that has it, for error messages.
    """

    seconds: float
    setting: str


class ClientSettings(Struct, frozen=True):
    """The settings of a transport's clients. Changing them requires new clients.

    Attributes:
        access: the address of the server, and the credentials.
        max_concurrency: parts in flight; each uses a GET and a PUT.
        chunk_size: bytes read at a time.
        stall_timeout: seconds without a byte after which a connection counts as broken.
        reply_timeout: seconds that a reply may take after the last byte of its request was sent.
        complete_timeout: seconds that the reply of CompleteMultipartUpload may take.
    """

    access: S3Access
    max_concurrency: int
    chunk_size: int
    stall_timeout: float
    reply_timeout: float
    complete_timeout: float

    def patience(self, operation: str, *, within_upload: bool) -> Patience:
        """Return how long a reply may take.

        Args:
            operation: S3's name of the operation.
            within_upload: whether an upload waits for the reply, because its source is being reopened. S3
                ends an upload that pauses for 20 seconds.
        """
        if operation == "CompleteMultipartUpload":
            return Patience(self.complete_timeout, "complete_timeout")
        if within_upload and self.stall_timeout < self.reply_timeout:
            return Patience(self.stall_timeout, "stall_timeout")
        return Patience(self.reply_timeout, "reply_timeout")
