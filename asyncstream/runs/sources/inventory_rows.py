"""Read rows of an S3 Inventory: the objects that they name, or why they are left out. Does no I/O.

S3 user guide, "Amazon S3 Inventory list": all fields except Bucket and Key are optional, all fields are text,
and keys are percent-encoded with a plus for a space. An inventory of all versions has a row for each version
and each delete marker.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any
from urllib.parse import unquote_plus

from asyncstream.errors import InputError
from asyncstream.locations import S3Object, is_folder_marker
from asyncstream.objects import ARCHIVED_CLASSES
from asyncstream.runs.pages import SHORT_KEY, Findings, Found, LeftOut, UriParser
from asyncstream.shown import shown

# Tiers of INTELLIGENT_TIERING, as inventories and the API name them. ARCHIVE_INSTANT_ACCESS can be read.
ARCHIVED_TIERS = frozenset({"ARCHIVE", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"})


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


# Fields of rows that `RowReader` reads, and their names in Parquet and ORC.
_READ = {
    "Bucket": "bucket",
    "Key": "key",
    "IsDeleteMarker": "is_delete_marker",
    "IsLatest": "is_latest",
    "StorageClass": "storage_class",
    "IntelligentTieringAccessTier": "intelligent_tiering_access_tier",
    "Size": "size",
    "ETag": "e_tag",
}
COLUMNS = {arrow: name for name, arrow in _READ.items()}
_UNUSUAL = "unusual"
# By IsDeleteMarker and IsLatest, as S3 writes them: why a row is left out; None: it may be copied.
_BY_FLAGS: dict[tuple[str, str], str | None] = {
    **{("true", latest): LeftOut.DELETE_MARKER for latest in ("true", "false", "")},
    **{(marker, "false"): LeftOut.OLDER_VERSION for marker in ("false", "")},
    **{(marker, latest): None for marker in ("false", "") for latest in ("true", "")},
}


class RowReader:
    """Reads many rows of one schema: the same as `read_row`, ten times as fast.

    Args:
        columns: the names of a row's fields, in their order.
        name: the inventory's file, for messages.
        encoded: whether keys are percent-encoded, as in CSV.

    Raises:
        InputError: the schema lacks a field that is needed.
    """

    def __init__(self, columns: Sequence[str], name: object, *, encoded: bool) -> None:
        missing = ", ".join(name for name in ("Bucket", "Key") if name not in columns)
        if missing or len(set(columns)) < len(columns):
            raise InputError(
                f"the inventory of {name} has no {missing or 'distinct fields'} in its schema "
                f"{', '.join(columns):.200}: use one with the fields Bucket and Key"
            )
        self._columns = columns
        self._name = name
        self._encoded = encoded
        # A row that lacks a field has an empty text for it after its last field.
        self._pick = itemgetter(*(columns.index(name) if name in columns else len(columns) for name in _READ))
        self._check = UriParser().check

    def read(self, rows: Iterable[list[str]], number: int, findings: Findings) -> int:
        """Add the objects that rows name, and return the number of the rows.

        Args:
            rows: their fields as texts. Each gets an empty one more.
            number: that of the first row in its file, from 1.
            findings: where they are added.

        Raises:
            InputError: a row is malformed; the message has its number.
        """
        width, encoded, pick, add = len(self._columns), self._encoded, self._pick, findings.found.append
        at, checked = number - 1, ""
        for at, row in enumerate(rows, number):
            if len(row) != width:
                raise self._error(at, f"it has {len(row)} fields, and the schema has {width}")
            row.append("")
            bucket, key, marker, latest, storage_class, tier, size, etag = pick(row)
            reason = _BY_FLAGS.get((marker, latest), _UNUSUAL)
            if reason is _UNUSUAL:
                reason = self._read_unusual(row[:-1], at)
            elif reason is None and (storage_class in ARCHIVED_CLASSES or tier in ARCHIVED_TIERS):
                reason = LeftOut.ARCHIVED
            if reason is not None:
                findings.leave_out(reason)
                continue
            try:
                if encoded and ("%" in key or "+" in key):
                    key = unquote_plus(key, errors="strict")
                if bucket != checked or not key or len(key) > SHORT_KEY:
                    self._check(bucket, key)
                    checked = bucket
                bytes_ = int(size) if size else None
            except ValueError as error:  # an InputError is one, too
                raise self._error(at, str(error)) from None
            if bytes_ == 0 and key[-1] == "/":
                findings.leave_out(LeftOut.FOLDER_MARKER)
            else:
                add(Found(bucket, key, bytes_, f'"{etag}"' if etag else ""))
        return at - number + 1

    def _read_unusual(self, row: Sequence[str], number: int) -> LeftOut | None:
        """Return why a row is left out whose flags have an unusual spelling; None if it is not."""
        try:
            found = read_row(dict(zip(self._columns, row, strict=True)))
        except InputError as error:
            raise self._error(number, str(error)) from None
        return found if isinstance(found, LeftOut) else None

    def _error(self, number: int, reason: str) -> InputError:
        return InputError(f"{self._name}, row {number}: {reason}: use another inventory")
