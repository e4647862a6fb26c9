"""`Page`: one fetched page."""

import codecs
from collections.abc import Mapping
from email.message import Message

from msgspec import Struct

# Codecs that no page uses: they take quadratic time, or decode characters that are not in the text.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "raw_unicode_escape", "undefined", "unicode-escape",
     "unicode_escape", "utf-7"}
)  # fmt: skip
DEFAULT_CHARSET = "utf-8"


class Page(Struct, frozen=True):
    """A complete page.

    Attributes:
        asked: the URL that was given.
        url: the URL that answered, after redirects. Both URLs include their queries: be careful with logs.
        status: the HTTP status, 2xx.
        headers: header names in lower case, without cookies.
        body: the decompressed body.
        attempts: attempts made; 1 if nothing went wrong.
        redirects: redirects followed in the last attempt.
    """

    asked: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int
    redirects: int

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters: "text/html"; empty if the server sends none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def etag(self) -> str:
        """The ETag header; empty if the server sends none."""
        return self.headers.get("etag", "")

    @property
    def last_modified(self) -> str:
        """The Last-Modified header as the server sends it; empty if it sends none."""
        return self.headers.get("last-modified", "")

    @property
    def text(self) -> str:
        """The body as text, decoded in the charset of the Content-Type, by default UTF-8.

        Bytes that cannot be decoded become U+FFFD. A charset declared within the HTML is ignored. Every
        access decodes the body again.
        """
        return self.body.decode(parse_charset(self.headers.get("content-type", "")), errors="replace")


def parse_charset(content_type: str) -> str:
    """Return the codec name for a Content-Type; UTF-8 if it does not name a known charset."""
    message = Message()
    message["content-type"] = content_type
    name = message.get_param("charset")
    try:
        codec = codecs.lookup(name if isinstance(name, str) else DEFAULT_CHARSET)
        "a".encode(codec.name)  # LookupError for a codec that is not for text, such as "zlib"
    except (LookupError, ValueError):  # ValueError: a NUL in its name
        return DEFAULT_CHARSET
    return DEFAULT_CHARSET if codec.name in _NO_CHARSETS else codec.name
