"""Which object a row of an S3 Inventory in CSV names, or why it is left out. Pure.

S3 user guide, "Amazon S3 Inventory list": every field but Bucket and Key is optional, all fields are text,
keys are percent-encoded with a plus for a space. An inventory of all versions has a row for each version and
each delete marker.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

from asyncstream.errors import InputError
from asyncstream.events.reading import shown
from asyncstream.locations import S3Object

# GET answers 403 (InvalidObjectState) for these until they are restored. GLACIER_IR can be read.
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Tiers of INTELLIGENT_TIERING, by their names in inventories and the API. ARCHIVE_INSTANT_ACCESS can be read.
ARCHIVED_TIERS = frozenset({"ARCHIVE", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"})


class LeftOut(StrEnum):
    """Why a row is not copied, as replies count it."""

    DELETE_MARKER = "delete_marker"
    OLDER_VERSION = "older_version"
    ARCHIVED = "archived"


def read_row(row: Any) -> S3Object | LeftOut:
    """Return the object that a row names, its key decoded, or why it is left out.

    The object's current version is meant, which may be newer than the inventory.

    Args:
        row: fields by their names in the inventory's schema. A flag is "true" or "false", or a boolean; an
            empty text is the same as a field that the inventory lacks.

    Raises:
        InputError: the row does not name an object, or a field is none of what S3 writes.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"an inventory's row is {shown(row)}, not an object with its fields")
    if _flag(row, "IsDeleteMarker", missing=False):
        return LeftOut.DELETE_MARKER
    if not _flag(row, "IsLatest", missing=True):
        return LeftOut.OLDER_VERSION
    if (
        _text(row, "StorageClass") in ARCHIVED_CLASSES
        or _text(row, "IntelligentTieringAccessTier") in ARCHIVED_TIERS
    ):
        return LeftOut.ARCHIVED
    bucket, key = _text(row, "Bucket"), _text(row, "Key")
    if not (bucket and key):
        raise InputError(
            f"an inventory's row has no Bucket or no Key among {', '.join(map(str, row)):.200}: "
            "let the inventory be in CSV, with these fields"
        )
    try:
        return S3Object(bucket, unquote_plus(key, errors="strict"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"an inventory's key {key!r:.100} is not UTF-8 when it is decoded: {error.reason}"
        ) from None


def _flag(row: Mapping[str, Any], name: str, *, missing: bool) -> bool:
    value = row.get(name)
    if value is None or value == "":
        return missing
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InputError(f"an inventory's row has {name} {shown(value)}: S3 writes true or false")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"an inventory's row has {name} {shown(value)}, which is not a text")
    return value
