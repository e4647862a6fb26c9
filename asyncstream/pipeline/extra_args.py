"""`extra_args`: the supported settings of a destination, and their types. Does no I/O.

Names and values are those of boto3's `upload_fileobj(ExtraArgs=...)` that make sense for a copy, and those of
its `copy` for an SSE-C source. Checksums are not supported, because the pipeline sets its own.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from asyncstream.errors import ConfigError

_TEXT = (str,)
_DATE = (str, datetime)
_KEY = (str, bytes)
_TYPES: dict[str, tuple[type, ...]] = {
    "ACL": _TEXT,
    "BucketKeyEnabled": (bool,),
    "CacheControl": _TEXT,
    "ContentDisposition": _TEXT,
    "ContentEncoding": _TEXT,
    "ContentLanguage": _TEXT,
    "ContentType": _TEXT,
    "CopySourceSSECustomerAlgorithm": _TEXT,
    "CopySourceSSECustomerKey": _KEY,
    "ExpectedBucketOwner": _TEXT,
    "Expires": _DATE,
    "GrantFullControl": _TEXT,
    "GrantRead": _TEXT,
    "GrantReadACP": _TEXT,
    "GrantWriteACP": _TEXT,
    "Metadata": (dict,),
    "ObjectLockLegalHoldStatus": _TEXT,
    "ObjectLockMode": _TEXT,
    "ObjectLockRetainUntilDate": _DATE,
    "RequestPayer": _TEXT,
    "SSECustomerAlgorithm": _TEXT,
    "SSECustomerKey": _KEY,
    "SSEKMSEncryptionContext": _TEXT,
    "SSEKMSKeyId": _TEXT,
    "ServerSideEncryption": _TEXT,
    "StorageClass": _TEXT,
    "Tagging": _TEXT,
    "WebsiteRedirectLocation": _TEXT,
}
EXTRA_ARGS = frozenset(_TYPES)


def check(extra_args: Mapping[str, Any]) -> None:
    """Check that botocore can send these settings.

    Raises:
        ConfigError: a name is not supported, or its value has another type. Messages never contain keys.
    """
    unknown = sorted(set(extra_args) - EXTRA_ARGS)
    if unknown:
        raise ConfigError(
            f"extra_args {', '.join(unknown)}: not supported. Supported: {', '.join(sorted(EXTRA_ARGS))}"
        )
    for name, value in extra_args.items():
        _check_value(name, value)


def _check_value(name: str, value: Any) -> None:
    types = _TYPES[name]
    if not isinstance(value, types):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise ConfigError(f"extra_args[{name!r}] must be {wanted}, not {type(value).__name__}")
    if isinstance(value, dict) and not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ConfigError("extra_args['Metadata'] must map str to str")
    if types is _DATE and isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(
                f"extra_args[{name!r}]={value!r} is not an ISO 8601 date: write 2026-12-31T23:59:59Z"
            ) from None
