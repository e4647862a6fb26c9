import pytest

from asyncstream.errors import InputError
from asyncstream.units import exact, parse_size, rounded


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64MiB", 64 * 2**20),
        ("64 mib", 64 * 2**20),
        ("100MB", 100_000_000),
        ("1.5GiB", 3 * 2**29),
        (" 16KiB ", 16_384),
        ("0", 0),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "5XB", "1,5MB", "1.3B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (100_000_000, "100 MB"),
        (16_384, "16 KiB"),
        (64 * 2**20, "64 MiB"),
        (200_000, "200 KB"),
        (1_024_000, "1,000 KiB"),
        (1234, "1,234 B"),
    ],
)
def test_exact_sizes_are_shown_exactly(size: int, text: str) -> None:
    assert exact(size) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (999_900, "1 MB"), (1_054_000_000, "1.05 GB")]
)
def test_rounded_sizes_have_three_digits(size: int, text: str) -> None:
    assert rounded(size) == text
