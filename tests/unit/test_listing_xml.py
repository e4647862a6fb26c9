"""A listing is parsed as botocore parses it: both parsers read the same documents, from a server."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncstream.engines import EngineName
from asyncstream.errors import AsyncstreamError
from asyncstream.locations import S3Prefix
from asyncstream.s3 import client, listings, open_transport, requests
from asyncstream.s3.access import S3Access
from asyncstream.s3.listing_xml import parse_listing
from asyncstream.s3.settings import ClientSettings
from tests.servers.listener import Scripted
from tests.servers.odd_s3 import OK, reply

if TYPE_CHECKING:
    from asyncstream.ports import Transport

PREFIX = S3Prefix("raw", "data/")
EVENT = "before-parse.*.ListObjectsV2"
TEXTS = ("Delimiter", "EncodingType", "IsTruncated", "NextContinuationToken", "Prefix", "StartAfter")
# botocore's own, too: it decodes a key that is missing or repeated, or reads a size that is not a number.
ERRORS = (AsyncstreamError, AttributeError, KeyError, TypeError, ValueError)
_ADDRESS = re.compile(" at 0x[0-9a-f]+")
FIELDS = ("Key", "Size", "ETag", "LastModified", "StorageClass", "Prefix")

# All characters of XML 1.0, also what a document must write as an entity, and what is two units of UTF-16.
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=["Cc", "Cs"])
KEYS = st.text(st.one_of(CHARACTERS, st.sampled_from("\t\n\r&<>%+/\"'\U0001f600")), max_size=12)
SIZES = st.one_of(st.integers(-1, 10**30).map(str), st.sampled_from(["", " 7 ", "x", "1_0", "9" * 5000]))
TIMES = st.sampled_from(
    ["", "2026-11-30T12:00:00.000Z", "2026-11-30T12:00:00", "Mon, 30 Nov 2026 12:00:00 GMT", "now"]
)
CLASSES = st.sampled_from(["", "STANDARD", "GLACIER"])
NAMESPACES = st.sampled_from(["", "http://s3.amazonaws.com/doc/2006-03-01/", "urn:other"])


def element(name: str, text: str) -> str:
    return f"<{name}>{escape(text, {chr(13): '&#13;'})}</{name}>"


def elements(**texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Build elements in any order, of which some may be missing."""
    found = st.fixed_dictionaries({}, optional=texts)
    pieces = found.map(lambda row: [element(name, text) for name, text in row.items()])
    return pieces.flatmap(st.permutations)


ODD = st.sampled_from(
    [
        "<Owner><ID>1</ID></Owner>",
        "<!-- a --><Other/>",
        "<Key><![CDATA[<a>]]></Key>",
        "<o:Key xmlns:o='o'>k</o:Key>",
    ]
)
ROWS = st.builds(
    lambda whole, some, odd: "".join(["<Contents>", *(whole or some), *odd, "</Contents>"]),
    elements(Key=KEYS, Size=st.integers(0, 2**50).map(str), ETag=KEYS, LastModified=TIMES),
    elements(Key=KEYS, Size=SIZES, ETag=KEYS, LastModified=TIMES, StorageClass=CLASSES),
    st.lists(ODD, max_size=1),
)
FOLDERS = elements(Prefix=KEYS).map(lambda row: "".join(["<CommonPrefixes>", *row, "</CommonPrefixes>"]))
TOPS = elements(
    Name=KEYS,
    Prefix=KEYS,
    Delimiter=KEYS,
    StartAfter=KEYS,
    NextContinuationToken=KEYS,
    IsTruncated=st.sampled_from(["true", "false", "True", ""]),
    EncodingType=st.sampled_from(["url", "", "other"]),
)


def document(pieces: list[str], namespace: str, root: str = "ListBucketResult") -> bytes:
    declared = f" xmlns={quoteattr(namespace)}" if namespace else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{declared}>{"".join(pieces)}</{root}>'.encode()


DOCUMENTS = st.builds(
    document,
    st.builds(
        lambda tops, rows, folders: [*tops, *rows, *folders],
        TOPS,
        st.lists(ROWS, max_size=3),
        st.lists(FOLDERS, max_size=2),
    ).flatmap(st.permutations),
    NAMESPACES,
    st.sampled_from(["ListBucketResult"] * 8 + ["Error", "html"]),
)
CUT = st.tuples(DOCUMENTS, st.floats(0, 1)).map(lambda cut: cut[0][: int(len(cut[0]) * cut[1])])


class Listings:
    """A transport of an engine, and the server that answers it with a document."""

    def __init__(self, engine: EngineName) -> None:
        self.document = b""
        self._server = Scripted(lambda _: reply(OK, self.document))
        self._runner = asyncio.Runner()
        access = S3Access(
            endpoint_url=self._server.url, access_key_id="x", secret_access_key="y", region="us-east-1"
        )
        own = ClientSettings(access, 3, 2**18, 60.0, 60.0, 600.0)
        self._transport: Transport = self._runner.run(open_transport(engine, own))
        found: Any = self._transport
        opened = found._client(None)
        self._events = (self._runner.run(opened) if engine == "asyncio" else opened).meta.events

    def listed(self) -> str:
        """Return the text of all that is read of the document, or of the error."""
        try:
            page = self.call()
        except ERRORS as error:
            return repr(error)
        # If a row has two keys, botocore makes a list of elements.
        return _ADDRESS.sub("", repr((only_read(page), read(page))))

    def listed_by_botocore(self) -> str:
        """Return the same of botocore's own parser."""
        self._events.unregister(EVENT, client._parse_listing)
        try:
            return self.listed()
        finally:
            self._events.register(EVENT, client._parse_listing)

    def call(self) -> dict[str, Any]:
        params = requests.list_page_params(PREFIX, None, {})
        return self._runner.run(self._transport.call("ListObjectsV2", params, None))

    def close(self) -> None:
        self._runner.run(self._transport.close())
        self._runner.close()
        self._server.close()


def only_read(page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a reply that are read by the library."""
    found = {name: page[name] for name in TEXTS if name in page}
    for name in ("Contents", "CommonPrefixes"):
        if name in page:
            found[name] = [{field: row[field] for field in FIELDS if field in row} for row in page[name]]
    return found


def read(page: Mapping[str, Any]) -> list[Any]:
    """Return what the library makes of a reply, or the errors' texts."""
    results: list[Any] = []
    for reader in (listings.objects, listings.folders):
        try:
            results.append(reader(page, PREFIX))
        except ERRORS as error:
            results.append(str(error))
    return results


@pytest.fixture(scope="module", params=["threads", "asyncio"])
def served(request: pytest.FixtureRequest) -> Iterator[Listings]:
    found = Listings(request.param)
    yield found
    found.close()


ROW = "<Contents><Key>%s</Key><Size>5</Size><ETag>&quot;e&quot;</ETag></Contents>"
WHOLE = "<IsTruncated>false</IsTruncated>"
URL = "<EncodingType>url</EncodingType>"


@settings(max_examples=60)
@given(st.one_of(DOCUMENTS, DOCUMENTS, CUT))
@example(b"")
@example(b"not XML")
@example(b"<html><body>Welcome</body></html>")
@example(b"<Error><Code>InternalError</Code><Message>again</Message></Error>")
@example(b"<Error><Code>SlowDown</Code><Message>slower</Message></Error>")
@example(document([WHOLE, ROW % "a"], "")[:-5])
@example(document([WHOLE, URL, ROW % "a%252B%2B+%0D"], ""))
@example(document([WHOLE, URL, "<Contents><Size>5</Size></Contents>"], ""))
@example(document([WHOLE, ROW % "a</Key><Key>b"], ""))
@example(document([WHOLE, WHOLE, ROW % "a"], ""))
@example(document([WHOLE, ROW % "&unknown;"], ""))
@example(document([WHOLE, "<Contents/><Contents></Contents>"], ""))
@example(document([WHOLE, ROW % "a&amp;&#13;&#x1F600;"], "").replace(b"UTF-8", b"UTF-16"))
@example(document([WHOLE, ROW % "a"], "").replace(b">a<", b">\xff<"))
def test_a_listing_is_read_as_botocore_reads_it(served: Listings, body: bytes) -> None:
    """This includes the errors of documents that are not listings, and of fields that are missing."""
    served.document = body

    assert served.listed() == served.listed_by_botocore()


@given(KEYS, NAMESPACES, TIMES)
def test_a_plain_page_is_not_left_to_botocore(key: str, namespace: str, time: str) -> None:
    row = "".join(
        [element("Key", key), element("Size", "5"), element("ETag", '"e"'), element("LastModified", time)]
    )
    pieces = [
        WHOLE,
        f"<Contents>{row}</Contents>",
        f"<CommonPrefixes>{element('Prefix', key)}</CommonPrefixes>",
    ]

    assert parse_listing(document(pieces, namespace)) == {
        "IsTruncated": False,
        "Contents": [{"Key": key, "Size": 5, "ETag": '"e"', "LastModified": time}],
        "CommonPrefixes": [{"Prefix": key}],
    }


@pytest.mark.parametrize(
    "body",
    [
        document([WHOLE, ROW % "a"], "")[:-1],
        document([WHOLE, ROW % "a"], "", root="Error"),
        document([WHOLE, (ROW % "a").replace("5", "five")], ""),
        document([WHOLE, ROW % "a</Key><Key>b"], ""),
        document([WHOLE, WHOLE], ""),
    ],
    ids=["cut", "an error", "a size that is none", "two keys in a row", "a repeated field"],
)
def test_other_documents_are_left_to_botocore(body: bytes) -> None:
    assert parse_listing(body) is None


def test_botocore_never_parses_a_page(served: Listings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would do so twice: to look for an error, and to read the page."""
    parsed = []

    def counted(**given_: Any) -> Any:
        parsed.append(given_)
        return made(**given_)

    made = ElementTree.XMLParser
    monkeypatch.setattr(ElementTree, "XMLParser", counted)
    served.document = document([WHOLE, ROW % "a"], "")

    assert "ListedObject(key='a', size=5" in served.listed()
    assert parsed == []
    served.listed_by_botocore()
    assert len(parsed) == 2
