"""What a web server's reply says of a file, if the server is wrong or hostile."""

from collections.abc import Mapping
from typing import Any

import pytest

from asyncstream import WebFile
from asyncstream.errors import BodyUnreadable, PageFailed
from asyncstream.locations.urls import parse_url
from asyncstream.objects import ByteRange
from asyncstream.web.file_replies import FoundFile, parse
from asyncstream.web.ports import Reply

URL = "https://example.com/x"


def found(headers: Mapping[str, str], status: int = 200, asked: ByteRange | None = None) -> FoundFile:
    stream: Any = None
    return parse(Reply(status, headers, stream), parse_url(URL), WebFile(URL), asked)


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206])
def test_a_reply_without_the_whole_file_fails(status: int) -> None:
    """A part that was not asked for has the file's size, and would give the file wrong bytes."""
    headers = {"content-length": "5", "content-range": "bytes 5-9/20"}
    with pytest.raises(PageFailed, match=str(status)):
        found(headers, status)
    if status == 206:
        assert found(headers, status, ByteRange(5, 10)).size == 20


@pytest.mark.parametrize("coding", ["identity", " Identity "])
def test_only_chunks_show_the_end_of_an_unsized_reply(coding: str) -> None:
    with pytest.raises(BodyUnreadable, match="neither a length nor chunks"):
        found({"transfer-encoding": coding})
    assert found({"transfer-encoding": "Chunked"}).size is None


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_length_of_many_digits_is_refused(digits: int) -> None:
    with pytest.raises(BodyUnreadable, match="which is not a length"):
        found({"content-length": "9" * digits})


@pytest.mark.parametrize("name", ["etag", "last-modified"])
@pytest.mark.parametrize("text", ['"日本"', '"a\tb"', f'"{"x" * 300}"'])
def test_a_version_that_cannot_be_sent_back_is_none(name: str, text: str) -> None:
    reply = found({"content-length": "5", "accept-ranges": "bytes", name: text})
    assert (reply.version, reply.in_ranges) == ("", False)


def test_headers_with_control_characters_are_not_kept() -> None:
    folded = 'attachment;\r\n filename="x"'
    headers = {"content-length": "5", "content-type": "text/\x01", "content-disposition": folded}
    assert found(headers).attributes == {"ContentDisposition": 'attachment; filename="x"'}
