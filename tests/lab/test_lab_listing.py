from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.s3.listing import list_page

keys = st.text("ab/é", min_size=1, max_size=6)


def whole_listing(names: Iterable[str], prefix: str, delimiter: str) -> list[str]:
    """Return the listing by its definition, without pages."""
    found = []
    for key in sorted(name for name in names if name.startswith(prefix)):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = key if end < 0 else key[: end + len(delimiter)]
        if entry not in found:
            found.append(entry)
    return found


@given(
    st.sets(keys, max_size=30), st.text("ab/", max_size=2), st.sampled_from(["", "/", "a"]), st.integers(1, 5)
)
def test_pages_put_together_are_the_whole_listing(
    names: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = list_page(sorted(names), prefix, delimiter, after, limit)
        assert len(page.keys) + len(page.prefixes) <= limit
        found += sorted([*page.keys, *page.prefixes])
        after = page.next_after
    assert found == whole_listing(names, prefix, delimiter)


def test_a_listing_begins_after_a_key() -> None:
    assert list_page(["a", "b", "c"], "", "", "a", 10).keys == ["b", "c"]


def test_a_page_of_nothing_is_the_last() -> None:
    assert list_page(["a"], "", "", "", 0) == ([], [], None)
