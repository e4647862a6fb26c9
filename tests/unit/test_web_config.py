"""The settings of fetching: refused before any I/O, and shown without their secrets."""

from typing import Any

import pytest

from asyncstream.errors import ConfigError
from asyncstream.gathering import FetchConfig, GatherConfig

HIDDEN = "k1k2k3"


@pytest.mark.parametrize(
    ("headers", "expected_message"),
    [
        ({"api.example": {"A": HIDDEN}}, "not the URL of a page"),
        ({"https://api.example/": {"A": HIDDEN}}, "is not an origin: write 'https://api.example'"),
        ({"https://API.example": {"A": HIDDEN}}, "is not an origin: write 'https://api.example'"),
        ({"https://api.example:443": {"A": HIDDEN}}, "is not an origin: write 'https://api.example'"),
        ({"https://me:k1k2k3@api.example": {}}, "has credentials in it"),
        ({"https://api.example": {"": HIDDEN}}, "'' is not a header name"),
        ({"https://api.example": {"A B": HIDDEN}}, "'A B' is not a header name"),
        ({"https://api.example": {"A": f"{HIDDEN}\r\nB: c"}}, "'A' is not a header name, or its value"),
        ({"https://api.example": {"A": f"{HIDDEN}é"}}, "or its value is not ASCII"),
        ({"https://api.example": {"HOST": HIDDEN}}, "'HOST' cannot be set here"),
        ({"https://api.example": {"A": 5}}, r"Expected `str`, got `int`"),
        ({"https://api.example": HIDDEN}, "Expected `object`, got `str`"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, Any], expected_message: str) -> None:
    """The error does not contain their values."""
    with pytest.raises(ConfigError, match=expected_message) as refused:
        FetchConfig(headers=headers)
    assert HIDDEN not in str(refused.value)


def test_only_the_origins_of_headers_are_shown() -> None:
    shown = repr(GatherConfig(fetch=FetchConfig(headers={"https://api.example": {"A": HIDDEN}})))
    assert "https://api.example" in shown
    assert HIDDEN not in shown


def test_headers_of_the_environment_are_json() -> None:
    with pytest.raises(ConfigError, match="GATHER_CONECTIONS is not a setting"):
        GatherConfig.from_env({"GATHER_CONECTIONS": "1"})
    with pytest.raises(ConfigError, match="GATHER_max_body is not a setting"):
        GatherConfig.from_env({"GATHER_max_body": "1"})
    environ = {"GATHER_HEADERS": '{"https://api.example": {"A": "b"}}'}
    assert GatherConfig.from_env(environ).fetch.headers == {"https://api.example": {"A": "b"}}
    for text in ("k1k2k3", '{"https://api.example": "k1k2k3"}', "[]"):
        with pytest.raises(ConfigError, match="GATHER_") as refused:
            GatherConfig.from_env({"GATHER_HEADERS": text})
        assert HIDDEN not in str(refused.value)
