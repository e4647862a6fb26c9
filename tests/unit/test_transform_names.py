"""The names by which `if_exists="skip"` recognises the output of a transform."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from asyncstream.errors import ConfigError
from asyncstream.transforms import (
    Gzip,
    Spec,
    chain,
    check_name,
    factory,
    filter_lines,
    map_csv,
    map_json_lines,
    map_lines,
    name_of,
    pieces,
    with_name,
)
from asyncstream.transforms.naming import NAMES


def one(line: Any, **_: Any) -> Any:
    return line


def größer(line: bytes) -> bytes:  # noqa: PLC2401 - users may use such names
    return line


class Without:
    """A function with state."""

    def __init__(self, word: bytes) -> None:
        self.word = word

    def __call__(self, chunk: bytes) -> bytes:
        return chunk.replace(self.word, b"")

    def doubled(self, chunk: bytes) -> bytes:
        return chunk + self.word


def ending_in(end: bytes) -> Callable[[bytes], bytes]:
    return lambda chunk: chunk + end


def with_default(chunk: bytes, end: bytes = b"x", *, n: int = 3) -> bytes:
    return chunk + n * end


def with_object(chunk: bytes, without: Without = Without(b"a")) -> bytes:  # noqa: B008 - never modified
    return without(chunk)


LINES, RECORDS = "asyncstream.transforms.lines", "asyncstream.transforms.records"
MAPPED = f"{LINES}:MappedLines({__name__}:one;ae7c2cac)"
# Copies of earlier versions have these names: if a name changes, its files are copied again.
RECORDED: list[tuple[Spec, str]] = [
    *((name, name) for name in NAMES),
    ("gunzip,zstd", "gunzip,zstd"),
    (["gunzip", one], f"gunzip,{__name__}:one"),
    (one, f"{__name__}:one"),
    (with_default, f"{__name__}:with_default:aba5c02a"),
    (Gzip, "asyncstream.transforms.gzip:Gzip"),
    (partial(Gzip, 2), "asyncstream.transforms.gzip:Gzip(1ad5be0d)"),
    (partial(Gzip, level=3), "asyncstream.transforms.gzip:Gzip(level=6dd28e9b)"),
    (partial(one, key=["a", 1]), f"{__name__}:one(key=d613649d)"),
    (map_lines(one), MAPPED),
    (map_lines(one, max_line=10), f"{LINES}:MappedLines({__name__}:one;a15d25e1)"),
    (filter_lines(one), f"{LINES}:MappedLines({LINES}:_kept({__name__}:one);ae7c2cac)"),
    (map_json_lines(one), f"{LINES}:MappedLines({RECORDS}:_mapped_json({__name__}:one);ae7c2cac)"),
    (map_csv(one, delimiter=";"), f"{RECORDS}:_MappedCsv({__name__}:one;5bfbd324;ae7c2cac)"),
    (
        map_csv(one, delimiter=";", header=one),
        f"{RECORDS}:_MappedCsv({__name__}:one;5bfbd324;ae7c2cac;header={__name__}:one)",
    ),
    (
        chain(map_lines(one), Gzip),
        f"asyncstream.transforms.protocol:_chained({MAPPED},asyncstream.transforms.gzip:Gzip)",
    ),
]

UNNAMED: list[Spec] = [
    lambda chunk: chunk,
    ending_in(b"a"),
    Without(b"a"),
    Without(b"a").doubled,
    with_object,
    partial(one, key=object()),
    partial(one, key={"a": 1}),
    map_lines(Without(b"a")),
    filter_lines(lambda line: line),
    chain(map_lines(one), map_lines(lambda line: line)),
    ["gzip", lambda chunk: chunk],
]


@pytest.mark.parametrize(("given", "name"), RECORDED)
def test_what_is_recorded_stays_as_it_was(given: Spec, name: str) -> None:
    check_name(given)
    assert name_of(given) == name


@pytest.mark.parametrize("given", UNNAMED)
def test_a_transform_without_a_name_asks_for_one(given: Spec) -> None:
    with pytest.raises(ConfigError, match=r"with_name\("):
        check_name(given)


@pytest.mark.parametrize("given", UNNAMED)
def test_the_work_of_an_unnamed_transform_is_never_recognised(given: Spec) -> None:
    assert name_of(given) != name_of(given)


@pytest.mark.parametrize("given", [ending_in(b"a"), Without(b"a"), map_lines(ending_in(b"a"))])
def test_a_transform_has_the_name_given_to_it(given: Callable[..., bytes]) -> None:
    named = with_name("clean v1", given)
    check_name(named)
    assert name_of(named) == "clean v1"
    assert name_of(["gzip", named]) == "gzip,clean v1"


def test_a_name_within_a_transform_counts() -> None:
    named = with_name("clean v1", ending_in(b"a"))
    assert name_of(map_lines(named)) == "asyncstream.transforms.lines:MappedLines(clean v1;ae7c2cac)"
    assert name_of(partial(named, b"2")) == "clean v1(c51351eb)"


@pytest.mark.parametrize("made", [ending_in(b"!"), with_name("v1", ending_in(b"!"))])
@pytest.mark.parametrize("kind", [lambda function: function, map_lines])
def test_a_named_function_works_as_before(made: Callable[..., bytes], kind: Callable[..., Spec]) -> None:
    transform = factory(kind(made))()
    assert b"".join([*pieces(transform.feed(b"ab")), *pieces(transform.finish())]) == b"ab!"


def test_a_named_class_works_as_before() -> None:
    assert isinstance(factory(with_name("packed", Gzip))(), Gzip)


@pytest.mark.parametrize("name", ["", " ", "a ", "a\nb", "\x00"])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        with_name(name, one)


def test_only_what_can_be_called_gets_a_name() -> None:
    given: Any = "gzip"
    with pytest.raises(ConfigError, match="cannot be called"):
        with_name("v1", given)


@pytest.mark.parametrize("given", [größer, map_lines(größer), "möglich:größer"])
def test_a_name_can_be_sent_as_metadata(given: str | Callable[..., bytes]) -> None:
    assert name_of(given).isascii()


def test_a_long_name_is_cut_and_still_unique() -> None:
    long, other = ",".join(["mine:clean"] * 200), ",".join([*["mine:clean"] * 199, "mine:other"])
    assert len(name_of(long)) == len(name_of(other)) == 256
    assert name_of(long) != name_of(other)
    assert name_of("x" * 256) == "x" * 256


def test_what_was_bound_is_not_shown() -> None:
    """An argument may be a key."""
    bound: Any = partial(one, key="secret")
    assert "secret" not in name_of(bound)


@pytest.mark.parametrize("made", [map_lines(one), filter_lines(one), chain(map_lines(one), map_lines(one))])
def test_what_is_named_works_as_before(made: Spec) -> None:
    transform = factory(made)()
    whole = b"".join([*transform.feed(b"a\nb"), *transform.finish()])
    assert whole == b"a\nb"
