"""S3's replies, their XML, and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from asyncstream.lab.s3.content import Content

# A mapping has an element's children. A sequence becomes one element per item. None is omitted.
XmlValue: TypeAlias = "str | int | Mapping[str, XmlValue] | Sequence[Mapping[str, XmlValue]] | None"

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

STATUS_OF_ERROR = {
    "AccessDenied": 403,
    "BadDigest": 400,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ContentDiscarded": 410,  # not an error of S3: this bucket keeps only checksums
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "RequestTimeout": 400,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. Its body is bytes in memory, or a range of an object's content."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    start: int = 0
    stop: int = 0

    @property
    def length(self) -> int:
        """Bytes of the body, or of the body that a GET would have for a HEAD."""
        return self.stop - self.start or len(self.body)


class S3Error(Exception):
    """An error reply with S3's code. `elements` adds elements to its XML."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,  # to override S3's status for this code
        headers: Mapping[str, str] | None = None,
        **elements: str | int,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = STATUS_OF_ERROR[code] if status is None else status
        self.headers = dict(headers or {})
        self.message = message
        self.elements = elements

    def reply(self, resource: str, request_id: str) -> Reply:
        """Return the error as a reply in S3's format."""
        fields = {"Code": self.code, "Message": self.message, "Resource": resource, "RequestId": request_id}
        document = XML_DECLARATION + _element("Error", {**fields, **self.elements})
        headers = {"Content-Type": "application/xml", "x-amz-request-id": request_id, **self.headers}
        return Reply(self.status, headers, document.encode())


def xml_reply(root: str, children: Mapping[str, XmlValue], headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with an XML document in S3's namespace."""
    opening = f'{XML_DECLARATION}<{root} xmlns="{NAMESPACE}">'
    document = _element(root, children).replace(f"<{root}>", opening, 1)
    return Reply(200, {"Content-Type": "application/xml", **(headers or {})}, document.encode())


def json_reply(value: object, status: int = 200) -> Reply:
    """Return a reply of the control API."""
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _element(name: str, value: XmlValue) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_element(*child) for child in value.items())}</{name}>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(_element(name, item) for item in value)
    text = str(value).lower() if isinstance(value, bool) else NOT_IN_XML.sub("\ufffd", str(value))
    return f"<{name}>{escape(text, {chr(13): '&#13;'})}</{name}>"


def parse_xml(body: bytes) -> ElementTree.Element:
    """Parse a request's XML, and remove the namespace from element names, which not every client sends."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 -- only this machine's own tests talk to this server
    except ElementTree.ParseError as error:
        raise S3Error("MalformedXML", f"The XML you provided was not well-formed: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def xml_time(timestamp: float) -> str:
    """Return a time in the format of S3's XML."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
