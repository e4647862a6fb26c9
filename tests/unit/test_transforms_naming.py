"""The values that users may give as a transform, and the errors for all others, before any file."""

import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from asyncstream.errors import ConfigError
from asyncstream.transforms import NAMES, Gunzip, Gzip, Running, factory, map_lines, named


class Doubled:
    """A transform as users write it."""

    def __init__(self, times: int = 2) -> None:
        self._times = times

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return bytes(chunk) * self._times

    def finish(self) -> bytes:
        return b"."


class Needing(Doubled):
    def __init__(self, times: int) -> None:
        super().__init__(times)


def upper(chunk: bytes, *more: object, strict: bool = True) -> bytes:
    assert type(chunk) is bytes
    return chunk.upper()


class Unsigned:
    __signature__ = "none"

    def __call__(self, chunk: bytes) -> bytes:
        return chunk


async def fetched(chunk: bytes) -> bytes:
    return chunk


def by_keyword(chunk: bytes, *, key: str) -> bytes:
    return chunk


def transformed(given: Any, *chunks: bytes) -> bytes:
    running = Running(factory(given))
    made = [bytes(piece) for chunk in chunks for piece in running.feed(memoryview(chunk))]
    return b"".join([*made, *map(bytes, running.finish())])


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    users = ModuleType("users")
    users.upper, users.Doubled, users.lines, users.number = upper, Doubled, map_lines(upper), 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users", users)


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_name_makes_a_new_transform_each_time(name: str) -> None:
    made = named(name)

    assert made() is not made()


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("users:upper", b"ABCD"),
        ("users:Doubled", b"ababcdcd."),
        ("users:lines", b"ABCD"),
        (upper, b"ABCD"),
        (Doubled, b"ababcdcd."),
        (lambda: Doubled(1), b"abcd."),
        (partial(Doubled, 1), b"abcd."),
        (partial(Needing, 1), b"abcd."),
        (partial(by_keyword, key="k"), b"abcd"),
        (lambda chunk: [chunk, b"-"], b"ab-cd-"),
        (["gzip", "gunzip", upper], b"ABCD"),
        (
            (Doubled, Doubled),
            b"abababab" + b"cdcdcdcd" + b"...",
        ),
    ],
)
def test_names_factories_functions_and_sequences_are_taken(given: Any, made: bytes) -> None:
    assert transformed(given, b"ab", b"cd") == made


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "gunzp",
            "one of bunzip2, gunzip, gzip, unxz, unzstd, zstd, or a function of yours as module:function",
        ),
        ("", "must be one of"),
        (":upper", "must be one of"),
        ("users:", "must be one of"),
        (
            "no.such.module:f",
            "'no.such.module:f' cannot be imported: ModuleNotFoundError: No module named 'no'",
        ),
        ("users:lower", "cannot be imported: AttributeError: module 'users' has no attribute 'lower'"),
        ("users:number", "neither a name nor callable"),
        (5, "neither a name nor callable"),
        (None, "neither a name nor callable"),
        ([], "at least one"),
        (["gzip", 5], "neither a name nor callable"),
        (Doubled(), "one object for all files"),
        (Needing, "needs 1 arguments"),
        (lambda a, b: a + b, "needs 2 arguments"),
        (by_keyword, "needs arguments by keyword"),
        (fetched, "asynchronous"),
        (Unsigned(), "does not say what arguments"),
        (lambda: b"x", "it returned a bytes"),
        (lambda chunk=b"": chunk, "it returned a bytes"),
        (lambda: 1 // 0, "cannot be made: ZeroDivisionError"),
        (partial(Gzip, 9), "gzip level 9"),
        (Gunzip(), "one object for all files"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(given: Any, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        factory(given)
    assert says in str(raised.value)


def test_a_module_that_fails_to_import_is_the_cause(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_users.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match="ZeroDivisionError") as raised:
        named("broken_users:f")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
