"""Names of files in archives that are taken and refused."""

from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.entry_names import refusal


@given(st.text())
def test_a_name_that_is_not_refused_stays_in_its_folder(name: str) -> None:
    if refusal(name) is None:
        steps = name.removesuffix("/").split("/")
        assert not {"", ".", ".."} & set(steps)
        assert "\0" not in name
