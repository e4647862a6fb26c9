"""Transforms of records: `map_json_lines` and `map_csv`.

If a record fails, the error names its place and repeats nothing of its content.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from asyncstream.errors import ConfigError, LineTooLong, TransformError
from asyncstream.transforms.failures import failed
from asyncstream.transforms.lines import MAX_LINE, SPLIT_AT_ONCE, Coalesced, LineSplitter, map_lines
from asyncstream.transforms.protocol import Factory, slices

_BOM = b"\xef\xbb\xbf"


def map_json_lines(function: Callable[[Any], Any], *, max_line: int = MAX_LINE) -> Factory:
    """Return a transform that calls a function with each line of a JSON Lines file, and writes the result.

    Blank lines and a UTF-8 byte order mark are dropped. The output is compact JSON with the line ends of the
    input.

    Args:
        function: gets the value of a line in builtin types, and returns a value that msgspec can encode; None
            drops the line.
        max_line: the most bytes of a line.

    Raises:
        TransformError: raised by the transform: the function raised an exception, a line is not JSON, or
            msgspec cannot encode the returned value. The message has the number and offset of the line.
    """
    return map_lines(_JsonFunction(_mapped_json, function), max_line=max_line)


_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def _mapped_json(function: Callable[[Any], Any], line: bytes) -> bytes | None:
    if not line or line.isspace():
        return None
    record = function(_decode(line))
    return None if record is None else _encode(record)


class _JsonFunction(partial[bytes | None]):
    """A function of lines. `MappedLines` removes the byte order mark, which is not part of the first line."""

    skipped_start = _BOM


def map_csv(
    function: Callable[[dict[str, str]], Mapping[str, Any] | None],
    *,
    delimiter: str = ",",
    max_record: int = MAX_LINE,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] | None = None,
    header: Callable[[list[str]], Sequence[str]] | None = None,
) -> Factory:
    """Return a transform that calls a function with each record of a CSV file, and writes the result.

    The input is CSV as in RFC 4180, in UTF-8: quoted fields may contain line ends. The output has the byte
    order mark and the kind of line end of the first line of the input. Blank lines are dropped. An
    input without a header gives an empty output.

    By default, the first record that the function returns gives the header of the output; if it returns none,
    the output is empty. With `columns`, `drop` or `header`, of which one may be given, the output has a
    header even if no record follows it. Fields longer than `csv.field_size_limit()`, by default 131,072
    characters, are an error.

    Args:
        function: gets the fields by name, and returns those of the output; None drops the record.
        delimiter: separates fields, in input and output.
        max_record: the most bytes of a record.
        columns: the names of the fields that the function returns, in the order of the output.
        drop: names of the input's header that the output does not have. It has the others in their order, and
            the function may return the dropped ones too.
        header: gets the names of the input's header, and returns those of the output.

    Raises:
        ConfigError: the delimiter is not valid, `columns` is empty or has a name twice, or more than one of
            `columns`, `drop` and `header` are given.
        TransformError: raised by the transform: the function raised an exception or returned other fields
            than the header has, a record is malformed, or the input's header lacks a name to drop. The
            message has the number and offset of its first line.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n\ufeff' or ord(delimiter) > 127:
        raise ConfigError(
            f"the delimiter {delimiter!r} must be one ASCII character, not a quote or a line end"
        )
    given = {"columns": columns, "drop": drop, "header": header}
    declared: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if len(declared) > 1:
        raise ConfigError(f"map_csv got {' and '.join(declared)}: give one of columns, drop and header")
    for name in declared.keys() - {"header"}:
        declared[name] = _check_names(name, declared[name])
    # A partial without them has the name that transforms had before: see `name_of`.
    return partial(_MappedCsv, function, delimiter, max_record, **declared)


def _check_names(setting: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{setting}={names!r:.100} must be a list of names, such as ('id', 'price')")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{setting}={names!r:.100} is empty or has a name twice: give each name once")
    return tuple(names)


class RecordSplitter:
    """Cuts chunks into records: lines, joined as long as a quote is open.

    Args:
        longest: the most bytes of a record.
        way_out: what messages tell the user to do about a longer one.

    Attributes:
        line: the number of the line in which the current record starts.
        offset: the offset of its first byte in the input.
    """

    def __init__(self, longest: int, way_out: str = "Raise max_record") -> None:
        self.line = 1
        self.offset = 0
        self._longest = longest
        self._way_out = way_out
        self._lines = LineSplitter(longest, way_out)
        self._open = bytearray()  # not a list of lines: each would take many times its own bytes

    def split(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the records that end in this chunk, without line feeds; line and offset are the record's."""
        for line in chain.from_iterable(map(self._lines.split, slices(chunk, SPLIT_AT_ONCE))):
            odd = line.count(b'"') & 1
            if odd and self._open:
                self._open += line
                self._check_length()
                record = bytes(self._open)
                self._open.clear()
                yield from self._yield_record(record)
            elif odd or self._open:
                self._open += line + b"\n"
                self._check_length()
            else:
                yield from self._yield_record(line)

    def rest(self) -> Iterator[bytes]:
        """Yield the last record if it has no line end.

        Raises:
            TransformError: a quote is still open.
        """
        last = self._lines.rest()
        if bool(self._open) != (last.count(b'"') & 1):
            raise TransformError(
                f"{self.place()}: a quote is open at the end of the input: close it in the source"
            )
        if last or self._open:
            self._open += last
            self._check_length()
            yield bytes(self._open)

    def _check_length(self) -> None:
        if len(self._open) > self._longest:
            raise LineTooLong(
                f"{self.place()}: the record is over {self._longest} bytes long. {self._way_out}"
            )

    def place(self) -> str:
        """Return the place of the current record for messages."""
        return f"line {self.line}, at byte {self.offset} of the input"

    def _yield_record(self, record: bytes) -> Iterator[bytes]:
        """Yield a record, then move `line` and `offset` past it."""
        yield record
        self.line += record.count(b"\n") + 1
        self.offset += len(record) + 1


class _Row:
    """A single text that `csv.reader` reads next, or that `csv.writer` wrote last."""

    def __init__(self) -> None:
        self.text: str | None = None

    def __iter__(self) -> "_Row":
        return self

    def __next__(self) -> str:
        if self.text is None:
            raise StopIteration  # the reader wants more, as a quote is open: being strict, it raises an error
        text, self.text = self.text, None
        return text

    def write(self, text: str) -> None:
        """Keep the text of a row; the writer writes each row with one call."""
        self.text = text


_BY_FIRST = "for the first record"


def _check_header(names: Any) -> Sequence[str]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TransformError(f"`header` returned a {type(names).__name__}: return a sequence of names")
    if not names or len(set(names)) < len(names):
        raise TransformError("the output's header is empty or has a name twice: give each column one name")
    return names


class _MappedCsv:
    def __init__(
        self,
        function: Callable[[dict[str, str]], Mapping[str, Any] | None],
        delimiter: str,
        longest: int,
        *,
        columns: tuple[str, ...] | None = None,
        drop: tuple[str, ...] = (),
        header: Callable[[list[str]], Sequence[str]] | None = None,
    ) -> None:
        self._function = function
        self._columns, self._drop, self._header = columns, frozenset(drop), header
        self._splitter = RecordSplitter(longest)
        self._coalesced = Coalesced()
        self._names: list[str] | None = None
        self._output_names: dict[str, None] | None = None
        self._bom = b""
        self._end = ""
        self._read, self._written = _Row(), _Row()
        self._reader = csv.reader(self._read, delimiter=delimiter, strict=True)
        # With "\n", Python before 3.13 would not quote fields that contain carriage returns.
        self._writer = csv.writer(self._written, delimiter=delimiter, lineterminator="\r\n")

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the output for the records that end in this chunk, joined into larger pieces."""
        for record in self._splitter.split(chunk):
            if self._map_record(record):
                yield self._coalesced.take()

    def finish(self) -> Iterator[bytes]:
        """Yield the remaining output, including a last record without line end."""
        for record in self._splitter.rest():
            self._map_record(record)
        yield self._coalesced.take()

    def _map_record(self, record: bytes) -> bool:
        """Map one record; return whether there is enough output to yield a piece."""
        try:
            row = self._parsed(record)
            if not row:
                return False
            if self._names is None:
                return self._take_names(row)
            if len(row) != len(self._names):
                raise TransformError(
                    f"the record has {len(row)} fields, but the header has {len(self._names)}: "
                    "give both the same number"
                )
            mapped = self._function(dict(zip(self._names, row, strict=True)))
            return mapped is not None and self._write(mapped)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's code, or a malformed record
            raise failed(self._splitter.place(), error) from error

    def _parsed(self, record: bytes) -> list[str]:
        if not self._end:
            self._end = "\r\n" if record.endswith(b"\r") else "\n"
            if record.startswith(_BOM):
                self._bom, record = _BOM, record[len(_BOM) :]
        self._read.text = record.decode()
        return next(self._reader)

    def _take_names(self, row: list[str]) -> bool:
        if len(set(row)) < len(row):
            raise TransformError("the header has a name twice: give each column its own name")
        self._names = row
        names = self._declared_names(row)
        return names is not None and self._start_output(names)

    def _declared_names(self, row: list[str]) -> Sequence[str] | None:
        """Return the names of the output's header; None if its first record gives them."""
        if self._header is not None:
            return _check_header(self._header(list(row)))
        if self._drop:
            missing = ", ".join(sorted(self._drop.difference(row)))
            if missing:
                raise TransformError(f"the header lacks the columns to drop: {missing}")
            return _check_header([name for name in row if name not in self._drop])
        return self._columns

    def _start_output(self, names: Iterable[str]) -> bool:
        self._output_names = dict.fromkeys(names)
        return self._coalesced.add(self._bom + self._line(self._output_names))

    def _write(self, mapped: Mapping[str, Any]) -> bool:
        if not isinstance(mapped, Mapping):
            raise TransformError(
                f"the function returned a {type(mapped).__name__}: return a mapping, or None"
            )
        if self._output_names is None:
            if not mapped:
                raise TransformError(
                    "the function returned a record without fields: return None to drop a record"
                )
            self._start_output(mapped)
        wanted = self._output_names or {}
        if mapped.keys() != wanted.keys() and mapped.keys() - self._drop != wanted.keys():
            differ = ", ".join(sorted(map(str, (mapped.keys() - self._drop) ^ wanted.keys())))
            declared = self._columns or self._drop or self._header
            raise TransformError(
                f"the function returned other fields than {'the header has' if declared else _BY_FIRST}: "
                f"{differ}. Return the same fields for all records"
            )
        return self._coalesced.add(self._line(mapped[name] for name in wanted))

    def _line(self, values: Iterable[Any]) -> bytes:
        self._writer.writerow(values)
        return (next(self._written).removesuffix("\r\n") + self._end).encode()
