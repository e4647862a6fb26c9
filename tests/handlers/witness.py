"""Stand-ins for S3, the web and Postgres that record their requests, without a network."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.exceptions import ParamValidationError
from botocore.serialize import create_serializer

from asyncstream.archives.zip_directory import find_directory
from asyncstream.errors import ConfigError, PageNotFound, SourceChanged, SourceNotFound
from asyncstream.locations.urls import parse_url
from asyncstream.web.pages import Page

from .archives.packing import pack

# The prefixes that a function may read and write.
SOURCE, DESTINATION = "s3://raw/in/", "s3://clean/out/"
CONTENT = b"some bytes"
# With a name that is not UTF-8.
ARCHIVE = pack({"a.txt": b"a", "b.csv": b"b,c\n" * 50, "Z.csv": b""}).replace(b"Z.csv", b"\x81.csv")
_READS = frozenset({"GetObject", "ListObjectsV2"})
_WRITES = frozenset(
    {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}
)
_DIRECTORY = find_directory(ARCHIVE, len(ARCHIVE))
SLICE = {
    "etag": '"e"',
    "start": _DIRECTORY.range.start,
    "stop": _DIRECTORY.range.stop,
    "first": 0,
    "count": 3,
    "end": _DIRECTORY.range.start,
    "rows": "0-1",
}


@cache
def _model() -> tuple[Any, Any]:
    model = botocore.session.get_session().get_service_model("s3")
    return model, create_serializer("rest-xml", include_validation=True)


def _content(key: str) -> bytes:
    return ARCHIVE if key.endswith(".zip") else CONTENT


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        content, self._content = self._content, b""
        return content

    async def close(self) -> None:
        pass


class WitnessS3:
    """A `ports.Transport` in which every source has the same content, and every prefix has two objects.

    An object whose key ends with `.zip` is an archive. At the destination no object exists.

    It serialises requests as the SDKs do, so a request that they could not send fails here, too.

    Attributes:
        read, written, looked_at: URIs of the requested objects and prefixes; `looked_at` by HEAD.
        left: seconds left for each PutObject when it was requested.
        on_put: called before each PutObject is answered, with the object's URI.
    """

    slot_bytes = 100_000
    renewals = 0
    is_aws = True

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.looked_at: set[str] = set()
        self.left: dict[str, float] = {}
        self.on_put: Callable[[str], None] = lambda _: None

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: Callable[[], float]
    ) -> dict[str, Any]:
        model, serializer = _model()
        named = {name: value for name, value in params.items() if name != "Body"}
        try:
            request = serializer.serialize_to_request(named, model.operation_model(operation))
        except ParamValidationError as error:
            raise ConfigError(f"{operation}: not a request") from error
        for text in (request["url_path"], *request["headers"].values(), *map(str, request["query_string"])):
            str(text).encode()
        uri = f"s3://{params['Bucket']}/{params.get('Key', params.get('Prefix', ''))}"
        seen = self.written if operation in _WRITES else self.looked_at
        (self.read if operation in _READS else seen).add(uri)
        if operation == "PutObject":
            self.left[uri] = left()
            self.on_put(uri)
        return await self._reply(operation, params)

    async def _reply(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        match operation:
            case "ListObjectsV2":
                names = (params.get("Prefix", "") + name for name in ("one", "../two"))
                return {"Contents": [{"Key": name, "Size": len(CONTENT), "ETag": '"e"'} for name in names]}
            case "GetObject":
                return self._read(params)
            case "HeadObject" if f"s3://{params['Bucket']}/{params['Key']}".startswith(SOURCE):
                return {"ContentLength": len(_content(params["Key"])), "ETag": '"e"'}
            case "HeadObject":
                raise SourceNotFound("The object does not exist.")
            case "CreateMultipartUpload":
                return {"UploadId": "upload-1"}
        body = params.get("Body")
        while body is not None and not isinstance(body, bytes) and await body.next_chunk():
            pass
        return {"ETag": '"e"'}

    def _read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        whole = _content(params["Key"])
        if "Range" not in params:
            return {"Body": whole, "ContentLength": len(whole), "ETag": '"e"'}
        first, last = params["Range"].removeprefix("bytes=").split("-")
        content = whole[int(first) : int(last or len(whole)) + 1]
        if not content:
            raise SourceChanged("The object is shorter now.")
        place = f"bytes {first}-{int(first) + len(content) - 1}/{len(whole)}"
        return {"Body": content, "ContentLength": len(content), "ContentRange": place, "ETag": '"e"'}

    async def renew(self, renewals: int) -> None:
        pass

    def stream(self, body: Any, length: int, left: Any = None) -> _Stream:
        return _Stream(body)

    async def close(self) -> None:
        pass


class WitnessWeb:
    """A stand-in for a `Fetcher`. Only the pages of one host exist."""

    async def fetch(self, url: str, **_: Any) -> Page:
        if parse_url(url).host != "a.example":
            raise PageNotFound("The page does not exist.", 404)
        return Page(url, url, 200, {}, b"[]", 1, 0)

    async def close(self) -> None:
        pass


class WitnessPostgres:
    """A stand-in for a `KeptConnection`: a table of any name with the columns id and name."""

    async def fetch(self, statement: str, parameters: Any, *_: Any) -> list[tuple[Any, ...]]:
        statement.encode()
        if "pg_attribute" in statement:
            return [("id", "bigint", False, False, False), ("name", "text", False, False, False)]
        return [([], [])]

    async def close(self) -> None:
        pass
