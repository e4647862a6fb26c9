"""Lines: mapped and dropped with their ends, in any chunks, in pieces large enough to send."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import LineTooLong, TransformError
from asyncstream.transforms import filter_lines, map_lines

from .transforming import CUTS, bytewise, cut, made_pieces, through

TEXT = st.lists(st.sampled_from([b"a", b"", b"\n", b"\r\n", b"\r", "ë€😀".encode(), b"line", b"\0"])).map(
    b"".join
)


def referred(text: bytes, function: Callable[[bytes], bytes | None]) -> bytes:
    """Return the expected output of `map_lines`, made line by line."""
    made = b""
    for line in text.split(b"\n")[:-1]:
        end = b"\r\n" if line.endswith(b"\r") else b"\n"
        mapped = function(line.removesuffix(b"\r"))
        made += b"" if mapped is None else mapped + end
    last = text.split(b"\n")[-1]
    return made + ((function(last) or b"") if last else b"")


def shortened(line: bytes) -> bytes | None:
    return None if not line else line[1:] + b"!"


@given(text=TEXT, cuts=CUTS)
def test_lines_keep_their_ends_however_they_are_cut(text: bytes, cuts: list[float]) -> None:
    assert through(map_lines(lambda line: line), text, cuts) == text
    assert through(map_lines(shortened), text, cuts) == referred(text, shortened)


@given(text=st.text(st.characters(exclude_categories=["Cs"])), cuts=CUTS)
def test_characters_are_whole_in_every_line(text: str, cuts: list[float]) -> None:
    def upper(line: bytes) -> bytes:
        return line.decode().swapcase().encode()

    assert through(map_lines(upper), text.encode(), cuts) == referred(text.encode(), upper)


@given(text=TEXT, cuts=CUTS)
def test_filter_lines_drops_lines_with_their_ends(text: bytes, cuts: list[float]) -> None:
    """It drops the lines for which the predicate is false."""
    kept = referred(text, lambda line: line if b"a" in line else None)

    assert through(filter_lines(lambda line: b"a" in line), text, cuts) == kept


def test_a_line_may_become_several() -> None:
    assert through(map_lines(lambda line: line.replace(b" ", b"\n")), b"a b\r\nc") == b"a\nb\r\nc"


def test_small_lines_are_handed_on_together() -> None:
    text = b"short\n" * 100_000
    made = list(made_pieces(map_lines(lambda line: line)(), cut(text, [n / 500 for n in range(500)])))

    assert b"".join(made) == text
    assert len(made) <= 11
    assert max(map(len, made)) < 65_536 + 10


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("in_bytes", [True, False])
def test_a_line_over_the_limit_is_shown_with_its_place(end: bytes, in_bytes: bool) -> None:
    fits, over = b"12345\r\n12345" + end, b"12345\n1\n123456" + end
    same = map_lines(lambda line: line, max_line=5)

    assert through(same, fits, bytewise(fits) if in_bytes else []) == fits
    with pytest.raises(LineTooLong, match=r"^line 3, at byte 8 of the input: over 5 bytes"):
        through(same, over, bytewise(over) if in_bytes else [])


def test_an_endless_line_is_given_up_at_the_limit() -> None:
    transform = map_lines(lambda line: line, max_line=1000)()
    chunks = iter([b"x" * 100] * 100)

    with pytest.raises(LineTooLong):
        list(made_pieces(transform, chunks))
    assert len(list(chunks)) == 100 - 11


@pytest.mark.parametrize("cuts", [[], [0.5], [0.2, 0.9]])
def test_an_error_has_line_offset_and_place_but_not_the_text(cuts: list[float]) -> None:
    def priced(line: bytes) -> bytes:
        return b"%d" % (100 // int(line))

    with pytest.raises(TransformError) as raised:
        through(map_lines(priced), b"1\r\n2\n0\nsecret\n", cuts)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    line = priced.__code__.co_firstlineno + 1
    assert str(raised.value) == (
        f"line 3, at byte 5 of the input: ZeroDivisionError: {raised.value.__cause__} "
        f"({__file__}:{line} in priced)"
    )


def test_an_error_in_a_last_line_without_an_end_has_its_place() -> None:
    with pytest.raises(TransformError, match=r"^line 2, at byte 2 of the input: ValueError"):
        through(map_lines(lambda line: b"%d" % int(line)), b"1\nx")


def test_an_error_in_a_library_names_the_users_line() -> None:
    with pytest.raises(
        TransformError, match=r"JSONDecodeError: .*test_transforms_lines\.py:\d+ in <lambda>\)$"
    ):
        through(map_lines(lambda line: b"%d" % json.loads(line)), b"{\n")


@pytest.mark.parametrize("made", ["text", 5, [b"x"]])
def test_a_function_that_returns_no_bytes_is_refused(made: Any) -> None:
    with pytest.raises(TransformError, match=r"line 1, .* returned a (str|int|list): return bytes, or None"):
        through(map_lines(lambda _: made), b"x\n")
