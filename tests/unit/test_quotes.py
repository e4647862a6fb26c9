"""Quotes that are counted while pieces of a file pass, some of them twice."""

from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import CutInQuotes
from asyncstream.archives.quotes import QuoteCount
from asyncstream.engines.driver import drive
from asyncstream.objects import ByteRange


async def read(counts: QuoteCount, text: bytes, start: int, stop: int, most: int | None = None) -> bytes:
    """Read a piece in chunks of three bytes, at most so many, and close it."""

    async def chunks() -> AsyncGenerator[bytes | memoryview, None]:
        for at in range(start, stop, 3):
            yield memoryview(text)[at : min(at + 3, stop)]

    passed = b""
    counted = counts.counted(chunks(), ByteRange(start, stop))
    while most is None or len(passed) < most:
        chunk = await anext(counted, None)
        if chunk is None:
            break
        passed += chunk
    await counted.aclose()
    return passed


def passes(text: bytes, pieces: list[tuple[int, int]]) -> bool:
    counts = QuoteCount("text", len(text))
    for start, stop in pieces[:-1]:
        drive(read(counts, text, start, stop))
    try:
        drive(read(counts, text, *pieces[-1]))
    except CutInQuotes:
        return False
    return True


@given(st.binary(min_size=1, max_size=40).map(lambda text: text.replace(b"\1", b'"')), st.data())
def test_an_odd_number_fails_with_the_last_piece(text: bytes, data: st.DataObject) -> None:
    edges = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text))))})
    pieces = data.draw(st.permutations(list(pairwise(edges))))
    assert passes(text, pieces) == (text.count(b'"') % 2 == 0)


@pytest.mark.parametrize(("text", "even"), [(b'a,"b\nc","d"\n', True), (b'a,"b\nc","d\n', False)])
def test_a_piece_that_broke_continues_where_it_ended(text: bytes, even: bool) -> None:
    counts = QuoteCount("text", len(text))
    reached = len(drive(read(counts, text, 0, len(text), most=4)))
    assert 0 < reached < len(text)
    if even:
        assert drive(read(counts, text, reached, len(text))) == text[reached:]
        return
    with pytest.raises(CutInQuotes, match="text has 3 quotes, an odd number"):
        drive(read(counts, text, reached, len(text)))


def test_a_piece_that_is_read_again_counts_once() -> None:
    text = b'"x"\n"y"\n'
    assert passes(text, [(0, 4), (0, 4), (4, 8)])
    assert not passes(b'"x""\n"y"', [(0, 5), (0, 5), (5, 8)])


def test_pieces_that_are_unknown_fail_nothing() -> None:
    assert passes(b'"x\n', [(2, 3)])
