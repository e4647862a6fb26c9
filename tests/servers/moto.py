"""moto's server: its behaviour is the closest to S3's, and only it has versions."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .base import Capability, ServerProcess

# werkzeug logs a request before it sends the reply's first byte, and refused requests in colour.
_COLOUR = re.compile(r"\x1b\[\d+m")
_REQUEST = re.compile(r'"(?P<method>[A-Z]+) /[^/? ]*(?P<key>/[^?]*)?(\?(?P<query>\S*))? HTTP/1\.[01]"')
_OPERATIONS = {
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("PUT", ""): "PutObject",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}


class MotoServer(ServerProcess):
    name = "moto"
    lacks: ClassVar[Mapping[Capability, str]] = {
        Capability.DENIES_ACCESS: "moto does not check credentials",
        Capability.COUNTS_CONNECTIONS: "moto does not count connections",
        Capability.KEYS_OF_CONTROL_CHARACTERS: "moto finds no route for a key with a line feed",
        Capability.MANY_HEADERS: "moto's server accepts 100 headers",
    }

    def _command(self, port: int, directory: Path) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    @staticmethod
    def _operation(line: str) -> str | None:
        request = _REQUEST.search(_COLOUR.sub("", line))
        if request is None:
            return None
        has_key, query = bool(request["key"]), request["query"] or ""
        subresource = "uploadId" if "uploadId=" in query else query if query == "uploads" else ""
        if not has_key:
            return "ListObjectsV2" if "list-type=2" in query else "other"
        return _OPERATIONS.get((request["method"], subresource), "other")
