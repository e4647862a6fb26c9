"""Keys are copied verbatim, although HTTP, XML, URLs and file systems may treat them specially."""

import pytest

from asyncstream import MiB, S3Object, S3Prefix
from tests.servers import Bucket, Capability, S3Server, content

from .fixture_types import Copy

PATH = Capability.KEYS_OF_ANY_PATH
LONG_NAME = Capability.KEYS_OF_LONG_NAMES
CONTROL = Capability.KEYS_OF_CONTROL_CHARACTERS

KEYS = {
    "spaces": (" a  b ", ()),
    "unicode": ("grüße/日本語", ()),
    "decomposed": ("e\u0301", ()),
    "emoji": ("\N{GRINNING FACE}.txt", ()),
    "plus": ("a+b", ()),
    "percent": ("100%", ()),
    "escaped-slash": ("a%2Fb", ()),
    "escaped-percent": ("a%252Fb", ()),
    "question-mark": ("a?versionId=1", ()),
    "hash": ("a#b", ()),
    "ampersand-and-equals": ("a&b=c", ()),
    "colon-at-semicolon": ("a:b@c;d", ()),
    "quotes": ("a\"b'c", ()),
    "xml": ("<Key>&amp;</Key>", ()),
    "backslash": ("a\\b", ()),
    "tilde": ("~a", ()),
    "braces": ("{a}/[b]/*", ()),
    "leading-slash": ("/a", (PATH,)),
    "double-slash": ("a//b", (PATH,)),
    "only-slashes": ("//", (PATH,)),
    "trailing-slash": ("a/", (PATH,)),
    "dot": ("./a", (PATH,)),
    "only-a-dot": (".", (PATH,)),
    "dot-dot": ("a/../b", (PATH,)),
    "leading-dot-dot": ("../a", (PATH,)),
    "line-feed": ("a\nb", (CONTROL,)),
    "carriage-return": ("a\rb", (CONTROL,)),
    "longest": ("k" * 1024, (LONG_NAME,)),
    "longest-of-many-names": ("d/" * 511 + "ab", ()),
    "longest-unicode": ("é" * 512, (LONG_NAME,)),
}


@pytest.fixture
def keys(server: S3Server) -> list[str]:
    """The keys that the server can store."""
    return [key for key, needs in KEYS.values() if not server.lacks.keys() & needs]


def test_keys_are_copied_verbatim(copy: Copy, bucket: Bucket, other_bucket: Bucket, keys: list[str]) -> None:
    """One transfer copies them all, so no two may be mixed up."""
    for key in keys:
        bucket.put(key, content(10, key))
    report = copy([(S3Object(bucket.name, key), S3Object(other_bucket.name, key)) for key in keys])
    report.raise_for_failures()
    assert other_bucket.keys() == set(keys)
    assert {key: other_bucket.get(key) for key in keys} == {key: content(10, key) for key in keys}


def test_prefixes_are_listed_verbatim(
    copy: Copy, bucket: Bucket, other_bucket: Bucket, keys: list[str]
) -> None:
    """A transfer lists every key as a prefix. A key that begins with another one has its own transfer."""
    first = [key for key in keys if not any(key != other and key.startswith(other) for other in keys)]
    bucket.put("another", b"not under a prefix")
    for listed in filter(None, (first, [key for key in keys if key not in first])):
        for key in listed:
            bucket.put(key, content(10, key))
        report = copy([(S3Prefix(bucket.name, key), S3Prefix(other_bucket.name, key)) for key in listed])
        report.raise_for_failures()
        assert other_bucket.keys() == set(listed)
        assert {key: other_bucket.get(key) for key in listed} == {key: content(10, key) for key in listed}
        other_bucket.empty()


def test_every_request_of_a_multipart_upload_has_the_exact_key(
    copy: Copy, bucket: Bucket, other_bucket: Bucket
) -> None:
    key = "grüße & 100%2F+?#=/\N{GRINNING FACE} <a>"
    body = content(5 * MiB + 1)
    bucket.put(key, body)
    report = copy([(S3Object(bucket.name, key), S3Object(other_bucket.name, key))], multipart=True)
    report.raise_for_failures()
    assert report.files[0].parts == 2
    assert other_bucket.get(key) == body
