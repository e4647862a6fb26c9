"""Locations in S3: `S3Object` and `S3Prefix`, parsed and checked without I/O.

Keys are verbatim. Nothing is percent-decoded, so `?`, `#`, `%`, `+`, spaces, leading and double slashes stand
for themselves.
"""

import re

from msgspec import Struct

from asyncstream.errors import InputError

# Bucket naming rules of the S3 user guide. Upper case and underscores occur in old names in us-east-1.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
# An access point or Outposts ARN can take the place of a bucket name.
_ARN = re.compile(
    r"arn:aws[a-z-]*:s3[a-z0-9-]*:[a-z0-9-]*:\d{12}:(?:outpost[/:][^/:]+[/:])?accesspoint[/:][^/:]+"
)
MAX_KEY_BYTES = 1024  # S3 user guide, "Naming Amazon S3 objects"


def _check_bucket(bucket: object, whole: str) -> None:
    if not isinstance(bucket, str) or not (_BUCKET.fullmatch(bucket) or _ARN.fullmatch(bucket)):
        raise InputError(
            f"bucket {bucket!r:.300} in {whole} is not a bucket name: "
            "3 to 255 letters, digits, dots, hyphens or underscores, or an access point ARN"
        )


def _check_key(key: object, whole: str) -> None:
    if not isinstance(key, str):
        raise InputError(f"key {key!r:.100} in {whole} must be a string")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"key {key!r:.1100} in {whole} is not valid Unicode: {error.reason}") from error
    if size > MAX_KEY_BYTES:
        raise InputError(
            f"key {key[:40]!r}... has {size} bytes; S3 takes at most {MAX_KEY_BYTES}: shorten it"
        )


def _split(uri: str) -> tuple[str, str]:
    if not isinstance(uri, str) or not uri.startswith("s3://"):
        raise InputError(f"{uri!r:.1100} is not an S3 URI: write s3://bucket/key")
    rest = uri.removeprefix("s3://")
    arn = _ARN.match(rest)
    if arn is not None:  # an ARN may contain slashes
        return arn[0], rest[arn.end() :].removeprefix("/")
    bucket, _, key = rest.partition("/")
    return bucket, key


def is_folder_marker(key: str, size: int | None) -> bool:
    """Whether an object only marks a folder: consoles and file tools create empty objects named `folder/`.

    Args:
        key: the object's key, or its URI.
        size: its bytes; None if unknown.
    """
    return size == 0 and key.endswith("/")


class S3Object(Struct, frozen=True):
    """One object: bucket, key and, for a source, optionally the version to read.

    Raises:
        InputError: the bucket name is invalid, or the key is empty or longer than 1,024 bytes.
    """

    bucket: str
    key: str
    version_id: str | None = None

    def __post_init__(self) -> None:
        whole = f"S3Object({self.bucket!r:.300}, {self.key!r:.1100})"
        _check_bucket(self.bucket, whole)
        _check_key(self.key, whole)
        if not self.key:
            raise InputError(f"{whole} has no key: name an object, not a bucket")
        if self.version_id is not None:
            _check_key(self.version_id, f"the version of {whole}")

    @classmethod
    def from_uri(cls, uri: str, version_id: str | None = None) -> "S3Object":
        """Parse `s3://bucket/key`. The key is everything after the first slash, verbatim."""
        bucket, key = _split(uri)
        if not key:
            raise InputError(f"{uri!r:.1100} names no object: write s3://bucket/key")
        return cls(bucket, key, version_id)

    @property
    def uri(self) -> str:
        """The URI `s3://bucket/key`, as `from_uri` parses it."""
        return f"s3://{self.bucket}/{self.key}"

    def __str__(self) -> str:
        return self.uri if self.version_id is None else f"{self.uri} (version {self.version_id})"


class S3Prefix(Struct, frozen=True):
    """All objects of a bucket whose keys start with `prefix`. An empty prefix means the whole bucket."""

    bucket: str
    prefix: str = ""

    def __post_init__(self) -> None:
        whole = f"S3Prefix({self.bucket!r:.300}, {self.prefix!r:.1100})"
        _check_bucket(self.bucket, whole)
        _check_key(self.prefix, whole)

    @classmethod
    def from_uri(cls, uri: str) -> "S3Prefix":
        """Parse `s3://bucket` or `s3://bucket/prefix`, verbatim."""
        return cls(*_split(uri))

    @property
    def uri(self) -> str:
        """The URI `s3://bucket/prefix`, as `from_uri` parses it."""
        return f"s3://{self.bucket}/{self.prefix}"

    def __str__(self) -> str:
        return self.uri

    def item(self, key: str) -> S3Object:
        """Return the object of this key."""
        return S3Object(self.bucket, key)
