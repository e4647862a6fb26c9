"""Read a row of an S3 Inventory in CSV: the object that it names, or why it is left out. Does no I/O.

S3 user guide, "Amazon S3 Inventory list": all fields except Bucket and Key are optional, all fields are text,
and keys are percent-encoded with a plus for a space. An inventory of all versions has a row for each version
and each delete marker.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

from asyncstream.errors import InputError
from asyncstream.locations import S3Object, is_folder_marker
from asyncstream.runs.shown import shown

# S3 answers a GET of these with 403 (InvalidObjectState) until they are restored. GLACIER_IR can be read.
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Tiers of INTELLIGENT_TIERING, as inventories and the API name them. ARCHIVE_INSTANT_ACCESS can be read.
ARCHIVED_TIERS = frozenset({"ARCHIVE", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"})


class LeftOut(StrEnum):
    """Why a row is not copied. Replies count rows by reason."""

    DELETE_MARKER = "delete_marker"
    OLDER_VERSION = "older_version"
    ARCHIVED = "archived"
    FOLDER_MARKER = "folder_marker"


def read_row(row: Any) -> S3Object | LeftOut:
    """Return the object that a row names, with its key decoded, or why the row is left out.

    The result means the object's current version, which may be newer than the inventory.

    Args:
        row: fields by their names in the inventory's schema. A flag is "true", "false" or a boolean. An empty
            text counts as a missing field.

    Raises:
        InputError: the row does not name an object, or a field has a value that S3 does not write.
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
            "use an inventory in CSV format that has these fields"
        )
    try:
        place = S3Object(bucket, unquote_plus(key, errors="strict"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"an inventory's key {key!r:.100} is not UTF-8 after decoding: {error.reason}"
        ) from None
    empty = row.get("Size") in ("0", 0)
    return LeftOut.FOLDER_MARKER if empty and is_folder_marker(place.key, 0) else place


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
