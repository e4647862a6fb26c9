"""Names of transforms: others for what makes something else, as a copy is known by them."""

from collections.abc import Callable
from functools import partial

import pytest

from asyncstream.transforms import (
    Gzip,
    Spec,
    chain,
    factory,
    filter_lines,
    map_csv,
    map_json_lines,
    map_lines,
    name_of,
)
from asyncstream.transforms.naming import NAMES


def one(line: bytes) -> bytes:
    return line


def other(line: bytes) -> bytes:
    return line


def größer(line: bytes) -> bytes:  # noqa: PLC2401 - a user may
    return line


class Without:
    """A function with something of its own."""

    def __init__(self, word: bytes) -> None:
        self.word = word

    def __call__(self, chunk: bytes) -> bytes:
        return chunk.replace(self.word, b"")

    def doubled(self, chunk: bytes) -> bytes:
        return chunk + self.word


def ending_in(end: bytes) -> Callable[[bytes], bytes]:
    return lambda chunk: chunk + end


def then(function: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """As a decorator has it: a name that all share, around a function."""

    def both(chunk: bytes) -> bytes:
        return function(chunk)

    return both


def with_default(end: bytes) -> Callable[[bytes], bytes]:
    def ended(chunk: bytes, end: bytes = end) -> bytes:
        return chunk + end

    return ended


SPECS: list[Spec] = [
    *(
        made(word)
        for word in (b"a", b"b")
        for made in (Without, ending_in, with_default, lambda word: Without(word).doubled)
    ),
    *(map_lines(made(word)) for word in (b"a", b"b") for made in (Without, ending_in)),
    then(one),
    then(other),
    *NAMES,
    "gunzip,zstd",
    one,
    other,
    Gzip,
    partial(Gzip, 2),
    partial(Gzip, level=3),
    *(
        made(function)
        for made in (map_lines, filter_lines, map_json_lines, map_csv)
        for function in (one, other)
    ),
    map_lines(one, max_line=10),
    map_csv(one, delimiter=";"),
    chain(map_lines(one), map_lines(other)),
    chain(map_lines(other), map_lines(one)),
    lambda chunk: chunk,
    lambda chunk: chunk + chunk,
]


def test_what_makes_something_else_is_called_otherwise_and_always_alike() -> None:
    names = [name_of(spec) for spec in SPECS]
    assert len(set(names)) == len(SPECS)
    assert names == [name_of(spec) for spec in SPECS]
    assert not [name for name in names if " at 0x" in name or " object" in name]


def test_what_is_made_anew_alike_is_called_alike() -> None:
    """As it is in the next process: what lies elsewhere in memory is no other."""
    for made in (Without, ending_in, with_default, lambda word: map_lines(Without(word).doubled)):
        assert name_of(made(b"a")) == name_of(made(b"a"))
    assert name_of(then(one)) == name_of(then(one))


def test_the_names_of_one_are_those_given() -> None:
    assert name_of("gunzip,zstd") == name_of(["gunzip", "zstd"]) == "gunzip,zstd"
    assert name_of(one) == f"{__name__}:one"
    assert name_of(map_lines(one)).startswith("asyncstream.transforms.lines:MappedLines")
    assert f"{__name__}:one" in name_of(filter_lines(one))


@pytest.mark.parametrize("given", [größer, map_lines(größer), "möglich:größer"])
def test_a_name_can_be_sent_as_metadata(given: str | Callable[..., bytes]) -> None:
    assert name_of(given).isascii()


def test_a_long_name_is_cut_and_still_tells_apart() -> None:
    long, other = ",".join(["mine:clean"] * 200), ",".join([*["mine:clean"] * 199, "mine:other"])
    assert len(name_of(long)) == len(name_of(other)) == 256
    assert name_of(long) != name_of(other)
    assert name_of("x" * 256) == "x" * 256


def test_what_was_bound_is_not_told() -> None:
    """It may be a key."""
    assert "secret" not in name_of(partial(one, key="secret"))


@pytest.mark.parametrize("made", [map_lines(one), filter_lines(one), chain(map_lines(one), map_lines(one))])
def test_what_is_named_works_as_before(made: Spec) -> None:
    transform = factory(made)()
    whole = b"".join([*transform.feed(b"a\nb"), *transform.finish()])
    assert whole == b"a\nb"
