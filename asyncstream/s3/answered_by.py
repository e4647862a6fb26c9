"""Tell the replies of S3 from those of something between: a proxy, a firewall, a network's sign-in page."""

import re
from collections.abc import Mapping
from typing import Any

# A reply's metadata has the first bytes of its body under this name: see `client.prepare_session`.
FIRST_WORDS = "FirstWords"
# The bytes of a body to keep. An HTML page starts with a head, before its first words.
MOST_OF_PAGE = 2_000
_MOST_WORDS = 100
_MARKUP = re.compile(r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^>]*(?:>|\Z)")
_HTML = re.compile(r"(?i)\W*(?:<!doctype html|<html)")
_DENIALS = frozenset({"401", "403", "407"})
# Every reply of S3 has one of these.
_S3_HEADERS = frozenset({"x-amz-request-id", "x-amz-id-2"})


def words_of_page(error: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return the first words of an error reply that is a page and not a document of AWS; "" if it is AWS's.

    Args:
        error: the SDK's parsed error. If the body was not AWS's, it has no code, or the status as its code.
        metadata: the reply's status, its headers, and the first bytes of its body.
    """
    status = str(metadata.get("HTTPStatusCode", ""))
    if str(error.get("Code", "")) not in {"", "Unknown", status}:
        return ""
    body: bytes = metadata.get(FIRST_WORDS, b"")
    if body:
        is_plain_404 = status == "404" and not is_html(body.decode("latin-1"))  # some S3s write no XML
        return "" if is_plain_404 or b"<Error" in body else first_words(body)
    headers = metadata.get("HTTPHeaders", {})
    # The reply to HEAD has no body.
    is_page = status in _DENIALS and str(headers.get("content-type", "")).startswith("text/html")
    return "text/html" if is_page and not _S3_HEADERS & headers.keys() else ""


def is_html(text: str) -> bool:
    """Return whether a text starts as an HTML page does."""
    return _HTML.match(text) is not None


def first_words(body: bytes) -> str:
    """Return the first words of a body, without the tags of HTML."""
    text = body.decode("utf-8", "replace")
    return (" ".join(_MARKUP.sub(" ", text).split()) or " ".join(text.split()))[:_MOST_WORDS]


def between(what: str, status: int, words: str) -> str:
    """Return the message for a reply that did not come from AWS; a status of 0 is unknown."""
    answered = f"answered {status}" if status else "answered"
    return (
        f"{what}: something between {answered}, and not AWS: {words!r}. "
        "Check the proxy (HTTPS_PROXY, NO_PROXY), the firewall and the endpoint"
    )
