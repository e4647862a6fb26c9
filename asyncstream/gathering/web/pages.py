"""`Page`: one fetched page."""

import codecs
from collections.abc import Mapping
from email.message import Message

from msgspec import Struct

# Codecs that no page is written in: they take quadratic time, or read what is not there.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "raw_unicode_escape", "undefined", "unicode-escape",
     "unicode_escape", "utf-7"}
)  # fmt: skip
DEFAULT_CHARSET = "utf-8"


class Page(Struct, frozen=True):
    """A page, whole.

    Attributes:
        asked: the URL that was given.
        url: the URL that answered, after redirects. Both with their queries: mind what is logged.
        status: 2xx.
        headers: names in lower case; cookies are left out.
        body: unpacked.
        attempts: tries it took; 1 where nothing went wrong.
        redirects: followed in the last of them.
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
        """Its media type in lower case, without parameters: "text/html"; empty if the server tells none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def etag(self) -> str:
        """The version, as the server names it; empty if it names none."""
        return self.headers.get("etag", "")

    @property
    def last_modified(self) -> str:
        """When it changed, as the server writes it; empty if the server does not tell."""
        return self.headers.get("last-modified", "")

    @property
    def text(self) -> str:
        """The body as text, in the charset that the server tells, else UTF-8; what is none becomes U+FFFD.

        What HTML says of its own charset is not looked at. Decoded anew by each call.
        """
        return self.body.decode(charset_of(self.headers.get("content-type", "")), errors="replace")


def charset_of(content_type: str) -> str:
    """The codec for a body of that Content-Type; UTF-8 where it names none that is known."""
    message = Message()
    message["content-type"] = content_type
    name = message.get_param("charset")
    try:
        codec = codecs.lookup(name if isinstance(name, str) else DEFAULT_CHARSET)
        "a".encode(codec.name)  # LookupError for what is no codec of text, such as "zlib"
    except (LookupError, ValueError):  # ValueError: a NUL in its name
        return DEFAULT_CHARSET
    return DEFAULT_CHARSET if codec.name in _NO_CHARSETS else codec.name
