"""Features of all configurations: messages, overrides, variables, and hidden secrets."""

from typing import TYPE_CHECKING, Any

import pytest

from asyncstream import TransferConfig
from asyncstream.errors import ConfigError
from asyncstream.gathering import DatabaseConfig, FetchConfig, GatherConfig
from asyncstream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = "k1k2k3"
ALL = [TransferConfig, FetchConfig, DatabaseConfig, GatherConfig]
WITH_SECRETS = [
    TransferConfig(extra_args={"SSECustomerKey": HIDDEN}),
    FetchConfig(headers={"https://api.example": {"A": HIDDEN}}),
    DatabaseConfig(dsn=f"postgresql://app:{HIDDEN}@db/x"),
    GatherConfig(
        fetch=FetchConfig(headers={"https://api.example": {"A": HIDDEN}}),
        database=DatabaseConfig(dsn=f"host=db password={HIDDEN}"),
    ),
]


@pytest.mark.parametrize("config", WITH_SECRETS, ids=lambda config: type(config).__name__)
def test_no_repr_shows_a_secret(config: Settings) -> None:
    """rich prints a configuration by `__rich_repr__`, not by `repr`."""
    for shown in (repr(config), repr(config.__rich_repr__())):
        assert HIDDEN not in shown
        assert all(name in shown for name in type(config).__struct_fields__)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (
            TransferConfig,
            {"max_output": 0},
            "max_output=0: Expected `int` >= 1 (the most bytes to make of one",
        ),
        (FetchConfig, {"max_body": 0}, "FetchConfig: Expected `int` >= 1 - at `$.max_body`"),
        (GatherConfig, {"fetch": 5}, "GatherConfig: Expected `object`, got `int` - at `$.fetch`"),
        (DatabaseConfig, {"port": 0}, "the database's settings: Expected `int` >= 1 - at `$.port`"),
    ],
)
def test_a_value_that_is_refused_is_named(kind: type[Settings], values: dict[str, Any], message: str) -> None:
    made: list[Callable[[], Settings]] = [lambda: kind(**values), lambda: kind().override(values)]
    for make in made:
        with pytest.raises(ConfigError) as raised:
            make()
        assert str(raised.value).startswith(message)


@pytest.mark.parametrize("kind", ALL)
def test_override_refuses_an_unknown_name(kind: type[Settings]) -> None:
    with pytest.raises(ConfigError, match=f"^unknown setting 'nope'; known: {kind.__struct_fields__[0]}, "):
        kind().override({"nope": 1})


@pytest.mark.parametrize(
    ("kind", "variable", "text", "message"),
    [
        (
            GatherConfig,
            "GATHER_DEADLINE",
            "0",
            "the variables GATHER_*: Expected `float` > 0.0 - at `$.deadline`",
        ),
        (
            GatherConfig,
            "GATHER_MAX_BODY",
            "0",
            "the variables GATHER_*: Expected `int` >= 1 - at `$.fetch.max_b",
        ),
        (GatherConfig, "POSTGRES_PORT", "0", "the variables POSTGRES_*: Expected `int` >= 1 - at `$.port`"),
        (GatherConfig, "GATHER_FETCH", "5", "GATHER_FETCH is not a setting of GatherConfig or FetchConfig"),
        (
            TransferConfig,
            "ASYNCSTREAM_verify",
            "off",
            "ASYNCSTREAM_verify is not a setting of TransferConfig",
        ),
    ],
)
def test_a_variable_that_is_refused_is_named(
    kind: type[Settings], variable: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        kind.from_env({variable: text})
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("kind", ALL)
def test_other_prefixes_and_empty_variables_count_as_unset(kind: type[Settings]) -> None:
    environ = {"HOME": "/", "ASYNCSTREAM_VERIFY": "", "GATHER_MAX_BODY": "", "POSTGRES_PORT": ""}

    assert kind.from_env(environ) == kind()


def test_variables_win_over_defaults() -> None:
    config = GatherConfig.from_env({"GATHER_DEADLINE": "5"}, deadline=7.0, max_concurrency=3)

    assert config == GatherConfig(deadline=5.0, max_concurrency=3)
