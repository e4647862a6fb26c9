"""Files of an inventory in Parquet or ORC, read by pyarrow from a temporary file.

pyarrow reads a file at any position, and knows no `await`. So the file is stored first: it takes as many
bytes of the disk, and its MD5 is known before its first row.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from hashlib import md5
from importlib import import_module
from tempfile import TemporaryFile
from typing import IO, Any, Literal, NamedTuple

from asyncstream.errors import ConfigError, CorruptInput
from asyncstream.locations import S3Object
from asyncstream.objects import Stored
from asyncstream.pipeline.context import Ends
from asyncstream.runs.pages import Findings
from asyncstream.runs.sources.chunks import read_pieces, wrong_md5
from asyncstream.runs.sources.inventory_rows import COLUMNS, RowReader
from asyncstream.units import MiB

TableFormat = Literal["Parquet", "ORC"]
# Rows that are Python objects at once.
_ROWS = 4_096
# Bytes of a column that are read at once.
_BUFFER = 1 * MiB


class _Table(NamedTuple):
    columns: list[str]
    rows: int
    batches: Iterator[Any]


async def read_table(
    ends: Ends, place: S3Object, stored: Stored, expected_md5: str, format_: TableFormat, skip: int
) -> AsyncGenerator[tuple[Findings, int, int], None]:
    """Yield what is found in a file, and the numbers of rows and bytes read so far.

    Args:
        ends: where it is.
        place: the file.
        stored: the result of `find_object`.
        expected_md5: the MD5 of its bytes.
        format_: its format.
        skip: the number of rows to pass over.

    Raises:
        ConfigError: pyarrow is not installed.
        CorruptInput: the file is damaged, or has another MD5.
        InputError: a row is malformed, or the file lacks a column.
    """
    arrow = _library("pyarrow", format_)
    with TemporaryFile() as file:
        await _store(ends, place, stored, expected_md5, file)
        try:
            table = (_open_parquet if format_ == "Parquet" else _open_orc)(file)
            reader = RowReader([COLUMNS[name] for name in table.columns], place, encoded=False)
            before = 0
            for found in table.batches:
                start, before = before, before + found.num_rows
                if before <= skip:
                    continue
                passed_over = max(0, skip - start)
                findings = Findings()
                rows = map(list, zip(*_as_texts(found.slice(passed_over), table.columns), strict=True))
                reader.read(rows, start + passed_over + 1, findings)
                yield findings, before, stored.size * before // table.rows
        except (arrow.ArrowException, OSError) as error:
            raise CorruptInput(f"{place} is not a whole {format_} file: {error}") from error


async def _store(ends: Ends, place: S3Object, stored: Stored, expected_md5: str, file: IO[bytes]) -> None:
    digest = md5(usedforsecurity=False)
    async with aclosing(read_pieces(ends, place, stored)) as pieces:
        async for piece in pieces:
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != expected_md5.lower():
        raise wrong_md5(place, digest.hexdigest(), expected_md5)
    file.seek(0)


def _open_parquet(file: IO[bytes]) -> _Table:
    opened = _library("pyarrow.parquet", "Parquet").ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    columns = [name for name in opened.schema_arrow.names if name in COLUMNS]
    batches = opened.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False)
    return _Table(columns, opened.metadata.num_rows, batches)


def _open_orc(file: IO[bytes]) -> _Table:
    opened = _library("pyarrow.orc", "ORC").ORCFile(file)
    columns = [name for name in opened.schema.names if name in COLUMNS]
    return _Table(columns, opened.nrows, _orc_batches(opened, columns))


def _orc_batches(opened: Any, columns: list[str]) -> Iterator[Any]:
    """Yield the rows of an ORC file. pyarrow reads a whole stripe, of which S3 makes many in a file."""
    for number in range(opened.nstripes):
        stripe = opened.read_stripe(number, columns=columns)
        for start in range(0, stripe.num_rows, _ROWS):
            yield stripe.slice(start, _ROWS)


def _as_texts(batch: Any, columns: list[str]) -> Iterator[list[str]]:
    """Yield the columns of a batch, as the texts that a CSV would have."""
    arrow = import_module("pyarrow")
    for name in columns:
        yield batch.column(name).cast(arrow.string()).fill_null("").to_pylist()


def _library(name: str, format_: TableFormat) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"an inventory in {format_} needs pyarrow ({error}): run pip install 'asyncstream[inventory]', "
            "or have S3 write CSV"
        ) from error
