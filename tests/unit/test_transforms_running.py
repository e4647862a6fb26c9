"""A running transform: pieces, chains, limits, and exceptions."""

import gzip
from collections import deque
from collections.abc import Iterator

import pytest

from asyncstream.errors import (
    Cancelled,
    ConfigError,
    ConnectionFailed,
    CorruptInput,
    OutputTooLarge,
    TransformError,
)
from asyncstream.transforms import Factory, Running, chain, factory, filter_lines, map_lines, pieces

KiB = 1024


class Recorder:
    """Passes its input on byte by byte, and notes each byte."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        for byte in bytes(chunk):
            self._notes.append(f"{self._name} {chr(byte)}")
            yield bytes([byte])

    def finish(self) -> bytes:
        self._notes.append(f"{self._name} finished")
        return self._name.encode()


def run(running: Running, *chunks: bytes) -> bytes:
    made = [bytes(piece) for chunk in chunks for piece in running.feed(chunk)]
    return b"".join([*made, *map(bytes, running.finish())])


@pytest.mark.parametrize(
    "made",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        [b"ab", b"", memoryview(b"c")],
        iter([bytearray(b"abc")]),
    ],
)
def test_bytes_of_any_kind_are_pieces(made: object) -> None:
    assert b"".join(pieces(made)) == b"abc"


def test_a_view_of_wider_items_counts_in_bytes() -> None:
    [piece] = pieces(memoryview(bytes(8)).cast("I"))

    assert len(piece) == 8


@pytest.mark.parametrize(
    ("made", "kind"), [("abc", "a str"), (None, "None"), (5, "a int"), (["a"], "a str"), ([5], "a int")]
)
def test_what_is_no_bytes_is_found_by_its_type(made: object, kind: str) -> None:
    with pytest.raises(TransformError, match=rf"{kind}.* bytes$"):
        list(pieces(made))


def test_a_chain_passes_each_piece_on_before_the_next() -> None:
    """A piece reaches the end before the next one is drawn."""
    notes: list[str] = []
    transform = chain(
        lambda: Recorder("1", notes), lambda: Recorder("2", notes), lambda: Recorder("3", notes)
    )()

    assert notes == []
    assert next(piece for piece in transform.feed(b"xy") if piece) == b"x"
    assert notes == ["1 x", "2 x", "3 x"]


def test_the_end_goes_through_a_chain_in_its_order() -> None:
    notes: list[str] = []
    running = Running(chain(lambda: Recorder("1", notes), lambda: Recorder("2", notes)))

    assert run(running, b"x") == b"x12"
    assert notes == ["1 x", "2 x", "1 finished", "2 1", "2 finished"]


def test_a_chain_of_none_is_refused() -> None:
    with pytest.raises(ConfigError):
        chain()


def test_bytes_in_and_out_are_counted_and_empty_pieces_left_out() -> None:
    running = Running(lambda: Recorder("", []))

    assert list(running.feed(b"")) == []
    assert list(running.feed(b"abc")) == [b"a", b"b", b"c"]
    assert list(running.finish()) == []
    assert (running.read, running.made) == (3, 3)


def test_output_over_its_limit_stops_at_the_piece_that_passes_it() -> None:
    bomb = gzip.compress(bytes(10_000 * KiB))
    running = Running(factory("gunzip"), max_output=1000 * KiB)
    drawn: list[int] = []

    with pytest.raises(
        OutputTooLarge,
        match=rf"the first {len(bomb)} bytes of the source became \d+ bytes, more than the 1024000",
    ):
        drawn.extend(map(len, running.feed(bomb)))
    assert sum(drawn) <= 1000 * KiB
    assert run(Running(factory("gunzip"), max_output=10_000 * KiB), bomb) == bytes(10_000 * KiB)


def test_a_ratio_counts_only_once_the_output_is_large() -> None:
    small, large = gzip.compress(bytes(60_000 * KiB)), gzip.compress(bytes(70_000 * KiB))

    assert sum(map(len, Running(factory("gunzip"), max_ratio=100).feed(small))) == 60_000 * KiB
    with pytest.raises(OutputTooLarge, match="more than the 100 times"):
        deque(Running(factory("gunzip"), max_ratio=100).feed(large), 0)
    deque(Running(factory("gunzip"), max_ratio=2000).feed(large), 0)


class Swallows:
    """Makes no output."""

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


BOMB = gzip.compress(bytes(70_000 * KiB))


@pytest.mark.parametrize(
    "asked",
    [
        ["gunzip", "gzip"],
        ["gunzip", Swallows],
        ["gunzip", "gzip", "zstd"],
        ["gunzip", "gzip,zstd"],
        ["gunzip,gzip", "gunzip,gzip"],
    ],
)
def test_a_bomb_is_found_even_if_the_chain_shrinks_it(asked: list[Factory | str]) -> None:
    running = Running(factory(asked), max_ratio=100)

    with pytest.raises(OutputTooLarge, match=rf"the first {len(BOMB)} bytes .*, more than the 100 times"):
        run(running, BOMB)
    assert running.made < 1000 * KiB
    run(Running(factory(asked), max_ratio=2000), BOMB)


def test_a_chain_that_swallows_all_can_be_stopped() -> None:
    """`between` runs between pieces."""
    heard = 0

    def between() -> None:
        nonlocal heard
        heard += 1
        if heard > 3:
            raise Cancelled("stopped")

    bomb = gzip.compress(b"dull\n" * 2_000_000)
    running = Running(factory(["gunzip", filter_lines(lambda line: len(line) > 4)]), between=between)
    with pytest.raises(Cancelled):
        list(running.feed(bomb))


class Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        yield b"first"
        raise self._error

    def finish(self) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [ValueError("odd"), ConnectionFailed("odd"), MemoryError("odd")])
def test_the_error_of_a_transform_names_bytes_reached_and_place(error: Exception) -> None:
    running = Running(lambda: Failing(error))
    drawn = running.feed(b"abc")

    assert next(drawn) == b"first"
    with pytest.raises(
        TransformError,
        match=r"^the transform failed in bytes 0 to 3 of its input: \w+: odd \(.*_running\.py:\d+ in feed\)$",
    ) as raised:
        next(drawn)
    assert raised.value.__cause__ is not None
    assert not raised.value.retryable
    with pytest.raises(TransformError, match=r"^the transform failed at the end of its 3 bytes: \w+: odd"):
        list(running.finish())


def test_a_stray_stop_iteration_is_no_end() -> None:
    with pytest.raises(TransformError, match="StopIteration"):
        list(Running(lambda: Failing(StopIteration())).feed(b"abc"))
    with pytest.raises(TransformError, match="StopIteration"):
        list(Running(lambda: Failing(StopIteration())).finish())


def test_a_transforms_own_errors_go_through_as_they_are() -> None:
    with pytest.raises(CorruptInput, match=r"^the input is not gzip data"):
        run(Running(factory("gunzip")), b"plain text")


def test_a_transform_that_cannot_be_made_is_reported() -> None:
    def broken() -> Failing:
        raise OSError("no dictionary")

    with pytest.raises(
        TransformError, match=r"^making the transform: OSError: no dictionary \(.* in broken\)"
    ):
        Running(broken)


def test_a_chain_of_everything_changes_compressed_lines() -> None:
    running = Running(factory(["gunzip", map_lines(bytes.upper), "zstd", "unzstd"]))

    assert run(running, gzip.compress(b"a\nb\n")[:9], gzip.compress(b"a\nb\n")[9:]) == b"A\nB\n"
