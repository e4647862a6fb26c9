"""Records: JSON lines and CSV as reference libraries read them, in any chunks; errors omit their content."""

import csv
import io
import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import ConfigError, LineTooLong, TransformError
from asyncstream.transforms import map_csv, map_json_lines

from .transforming import CUTS, bytewise, through

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.text(st.sampled_from('ab,;"\n\r ë😀\0'), max_size=6)


def same(record: Any) -> Any:
    return record


@given(records=st.lists(JSON), end=st.sampled_from(["\n", "\r\n", "\n\n", " \n\t\n"]), cuts=CUTS)
def test_json_lines_are_decoded_and_encoded(records: list[object], end: str, cuts: list[float]) -> None:
    text = "".join(json.dumps(record) + end for record in records).encode()
    made = through(map_json_lines(lambda record: {"was": record}), text, cuts)

    assert [json.loads(line) for line in made.splitlines()] == [{"was": record} for record in records]


def test_json_lines_are_dropped_by_none_and_keep_their_ends() -> None:
    text = b'{"n": 1}\r\n{"n": 2}\n\n  \n{"n": 3}'

    assert through(map_json_lines(lambda r: r if r["n"] != 2 else None), text) == b'{"n":1}\r\n{"n":3}'


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_byte_order_mark_before_json_lines_is_dropped(end: bytes) -> None:
    text = b'\xef\xbb\xbf{"n": 1}' + end

    for cuts in ([], bytewise(text)):
        assert through(map_json_lines(same), text, cuts) == b'{"n":1}' + end
    assert through(map_json_lines(same), b"\xef\xbb\xbf" + end) == b""


@pytest.mark.parametrize("line", [b"{", b"nope", b'"\xff"', b'{"a": 1} x', b"\xef\xbb\xbf1"])
def test_a_line_that_is_not_json_is_shown_with_its_place(line: bytes) -> None:
    with pytest.raises(TransformError, match=r"^line 2, at byte 2 of the input: \w*DecodeError: [^/]*$"):
        through(map_json_lines(same), b"1\n" + line + b"\n")


def test_what_cannot_be_said_in_json_is_shown_with_its_place() -> None:
    with pytest.raises(TransformError, match=r"^line 1, at byte 0 of the input: TypeError"):
        through(map_json_lines(lambda _: {"a": object()}), b"1\n")


def test_an_exception_is_reported_without_the_record() -> None:
    with pytest.raises(
        TransformError, match=r"KeyError: 'price' \(.*records\.py:\d+ in <lambda>\)$"
    ) as raised:
        through(map_json_lines(lambda r: r["price"]), b'{"name": "secret"}\n')
    assert "secret" not in str(raised.value)
    assert isinstance(raised.value.__cause__, KeyError)


def written(rows: list[list[str]], end: str, *, delimiter: str = ",", quoting: Any = csv.QUOTE_ALL) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return text.getvalue().encode()


def read(content: bytes, delimiter: str = ",") -> list[list[str]]:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return list(csv.reader(text, delimiter=delimiter, strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(
    rows=st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), min_size=1)
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    ended=st.booleans(),
    cuts=CUTS,
)
def test_csv_is_read_and_written_as_the_csv_module_does(
    delimiter: str, rows: list[list[str]], end: str, bom: bool, ended: bool, cuts: list[float]
) -> None:
    names = [f"name {n}\n" for n in range(len(rows[0]))]
    content = b"\xef\xbb\xbf" * bom + written([names, *rows], end, delimiter=delimiter)
    seen: list[dict[str, str]] = []
    made = through(
        map_csv(lambda r: seen.append(r) or r, delimiter=delimiter),
        content if ended else content.removesuffix(end.encode()),
        cuts,
    )

    assert seen == [dict(zip(names, row, strict=True)) for row in rows]
    assert read(made, delimiter) == [names, *rows]
    assert made.startswith(b"\xef\xbb\xbf") == bom
    assert made.endswith(end.encode())


@given(
    rows=st.lists(
        st.lists(FIELDS.map(lambda f: f.replace("\r", "").replace("\0", "")), min_size=2, max_size=2),
        min_size=1,
    ),
    cuts=CUTS,
)
def test_csv_that_is_quoted_where_needed_stays_the_same(rows: list[list[str]], cuts: list[float]) -> None:
    content = written([["a", "b"], *rows], "\n", quoting=csv.QUOTE_MINIMAL)

    assert through(map_csv(same), content, cuts) == content
    assert through(map_csv(same), content, bytewise(content)) == content


def test_the_first_record_made_gives_the_header_and_none_drops() -> None:
    def priced(record: dict[str, str]) -> Mapping[str, Any] | None:
        return None if record["n"] == "0" else {"total": int(record["n"]) * 2, "note": None}

    assert through(map_csv(priced), b"n\n0\n\n1\n0\n2\n") == b"total,note\n2,\n4,\n"
    assert through(map_csv(lambda _: None), b"n\n1\n") == b""
    assert through(map_csv(same), b"") == b""


def upper(names: list[str]) -> list[str]:
    return [name.upper() for name in names]


@pytest.mark.parametrize("end", [b"\r\n", b""])
@pytest.mark.parametrize(
    ("declared", "header"),
    [({"columns": ["x", "y"]}, b"x,y"), ({"drop": ["b"]}, b"a,c"), ({"header": upper}, b"A,B,C")],
    ids=["columns", "drop", "header"],
)
def test_a_declared_header_needs_no_record(declared: dict[str, Any], header: bytes, end: bytes) -> None:
    bom = b"\xef\xbb\xbf"
    content = bom + b"a,b,c" + end

    for cuts in ([], bytewise(content)):
        assert through(map_csv(same, **declared), content, cuts) == bom + header + (end or b"\n")
    assert through(map_csv(lambda _: None, **declared), b"a,b,c\n1,2,3\n") == header + b"\n"
    assert through(map_csv(same, **declared), b"") == b""


def test_records_are_written_by_a_declared_header() -> None:
    content = b"a,b\n1,2\n"

    assert through(map_csv(lambda r: {"n": r["a"], "m": 0}, columns=("m", "n")), content) == b"m,n\n0,1\n"
    assert through(map_csv(same, drop=["a"]), content) == b"b\n2\n"
    assert through(map_csv(lambda r: {"b": r["b"]}, drop=["a"]), content) == b"b\n2\n"
    shouted = map_csv(lambda r: {name.upper(): value for name, value in r.items()}, header=upper)
    assert through(shouted, content) == b"A,B\n1,2\n"


@pytest.mark.parametrize(
    ("declared", "content", "says"),
    [
        ({"columns": ["a"]}, b"a,b\n1,2\n", "line 2, .*other fields than the header has: b. Return"),
        ({"drop": ["b"]}, b"a,c\n1,2\n", "line 1, .*the header lacks the columns to drop: b$"),
        ({"drop": ["a"]}, b"a\n1\n", "line 1, .*the output's header is empty"),
        ({"header": lambda _: "a"}, b"a\n1\n", "line 1, .*`header` returned a str: return a sequence"),
        ({"header": lambda _: ["a", "a"]}, b"a\n1\n", "line 1, .*has a name twice"),
    ],
)
def test_a_header_that_does_not_fit_is_reported(declared: Any, content: bytes, says: str) -> None:
    with pytest.raises(TransformError, match=says):
        through(map_csv(same, **declared), content)


@pytest.mark.parametrize(
    "declared",
    [
        {"columns": "ab"},
        {"columns": []},
        {"columns": ["a", "a"]},
        {"columns": [1]},
        {"drop": "a"},
        {"columns": ["a"], "drop": ["b"]},
        {"drop": ["a"], "header": upper},
    ],
)
def test_a_wrong_declaration_is_refused_at_once(declared: Any) -> None:
    with pytest.raises(ConfigError, match=r"columns|drop"):
        map_csv(same, **declared)


def test_fields_in_any_order_are_written_by_the_header() -> None:
    turned = iter([{"a": 1, "b": 2}, {"b": 4, "a": 3}])

    assert through(map_csv(lambda _: next(turned)), b"n\n1\n2\n") == b"a,b\n1,2\n3,4\n"


@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize(
    ("content", "line", "byte", "says"),
    [
        (b'a,b\n"x\ny",2\n3\n', 4, 12, "the record has 1 fields, but the header has 2"),
        (b"a,b\n1,2,3\n", 2, 4, "the record has 3 fields, but the header has 2"),
        (b"a,a\n1,2\n", 1, 0, "a name twice"),
        (b"a,b\n1,\xff\n", 2, 4, "UnicodeDecodeError"),
        (b'a,b\n1,"x\n2,3\n', 2, 4, "a quote is open at the end"),
        (b'a,b\n1,"x"y\n', 2, 4, "Error: ',' expected after '\"'"),
        (b'a,b\nx"y,"z\n1,2\n', 2, 4, "Error: unexpected end of data"),
        (b'a,b\nx"y,1\nz"y,2\n', 2, 4, "Error: new-line character seen in unquoted field"),
        (b"a,b\r1,2\r", 1, 0, "Error: new-line character seen in unquoted field"),
        (b"a,b\n1,2\n\n7,8\n", 4, 9, "KeyError: 'c'"),
    ],
)
def test_a_record_that_fails_is_shown_with_its_place(
    content: bytes, line: int, byte: int, says: str, in_bytes: bool
) -> None:
    def function(record: dict[str, str]) -> dict[str, str]:
        return {"x": record["c"]} if record["a"] == "7" else record

    with pytest.raises(TransformError) as raised:
        through(map_csv(function), content, bytewise(content) if in_bytes else [])
    assert str(raised.value).startswith(f"line {line}, at byte {byte} of the input: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"b": 1}, "other fields than for the first record: a, b"),
        ({}, "record: a"),
        ("a", "a str: return a mapping"),
    ],
)
def test_a_record_made_otherwise_than_the_first_is_reported(made: Any, says: str) -> None:
    with pytest.raises(TransformError, match=says):
        through(map_csv(lambda r: r if r["a"] == "1" else made), b"a\n1\n2\n")


def test_a_record_without_fields_gives_no_header() -> None:
    with pytest.raises(TransformError, match="without fields"):
        through(map_csv(lambda _: {}), b"a\n1\n")


@pytest.mark.parametrize(
    "content",
    [
        b"a\n" + b"x" * 101 + b"\n",
        b'a\n"' + b"x\n" * 60 + b'"\n',
        b'a\n"' + b"x" * 60 + b"\n" + b"x" * 60 + b'"\n',
        b'a\n"' + b"x" * 60 + b"\n" + b"x" * 60 + b'"',
    ],
    ids=["line", "open quote", "closing line", "last line"],
)
def test_a_record_over_the_limit_is_shown_with_its_place(content: bytes) -> None:
    for cuts in ([], bytewise(content)):
        with pytest.raises(
            LineTooLong, match=r"^line 2, at byte 2 of the input: .*over 100 bytes.*Raise max_record"
        ):
            through(map_csv(same, max_record=100), content, cuts)


@pytest.mark.slow
def test_an_open_quote_takes_no_more_memory_than_a_record() -> None:
    """The lines are short: as an object, each would take some fifty bytes."""
    text = b'a\n"' + b"xy\n" * 100_000
    tracemalloc.start()
    try:
        with pytest.raises(LineTooLong, match="line 2, at byte 2"):
            through(map_csv(same, max_record=256 * 1024), text, [n / 100 for n in range(1, 100)])
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "é"])
def test_a_delimiter_that_is_none_is_refused_at_once(delimiter: str) -> None:
    with pytest.raises(ConfigError, match="delimiter"):
        map_csv(same, delimiter=delimiter)
