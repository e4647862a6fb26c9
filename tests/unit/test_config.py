"""Every setting's limits and messages, and where its value comes from."""

from typing import Any

import pytest

from asyncstream.errors import ConfigError
from asyncstream.pipeline.config import (
    DEFAULT_MEMORY_LIMIT,
    LAMBDA_MARGIN,
    TransferConfig,
    chunk_size_within,
    memory_limit_or_default,
)
from asyncstream.pipeline.memory import lambda_memory, peak_resident, resident
from asyncstream.retry import RetryPolicy
from asyncstream.units import GiB, KiB, MiB

LIMITS = [
    ("memory_limit", 1, 0, ">= 1"),
    ("chunk_size", 16 * KiB, 16 * KiB - 1, ">= 16384"),
    ("chunk_size", 16 * MiB, 16 * MiB + 1, "<= 16777216"),
    ("max_concurrency", 1, 0, ">= 1"),
    ("max_concurrency", 1000, 1001, "<= 1000"),
    ("part_size", 5 * MiB, 5 * MiB - 1, ">= 5242880"),
    ("part_size", 5 * GiB, 5 * GiB + 1, "<= 5368709120"),
    ("max_attempts", 1, 0, ">= 1"),
    ("max_attempts", 100, 101, "<= 100"),
    ("retry_base_delay", 1e-9, 0.0, "> 0"),
    ("retry_max_delay", 1e-9, 0.0, "> 0"),
    ("retry_max_wait", 1e-9, 0.0, "> 0"),
    ("stall_timeout", 1e-9, 0.0, "> 0"),
    ("stall_timeout", 15.0, 15.001, "<= 15"),
    ("reply_timeout", 1e-9, 0.0, "> 0"),
    ("reply_timeout", 3600.0, 3600.1, "<= 3600"),
    ("complete_timeout", 1e-9, 0.0, "> 0"),
    ("complete_timeout", 3600.0, 3600.1, "<= 3600"),
    ("deadline", 1e-9, 0.0, "> 0"),
]

WRONG_TYPES = [
    ("memory_limit", "64 MB"),
    ("chunk_size", 2.0**18),
    ("max_concurrency", True),
    ("part_size", "automatic"),
    ("part_size", None),
    ("multipart", 1),
    ("retry_base_delay", "fast"),
    ("verify", "never"),
    ("verify", True),
    ("deadline", float("nan")),
    ("extra_args", None),
    ("extra_args", ["ACL"]),
]


@pytest.mark.parametrize(("name", "allowed", "refused", "limit"), LIMITS)
def test_each_limit_is_inclusive_and_named_in_its_message(
    name: str, allowed: Any, refused: Any, limit: str
) -> None:
    """The message also names the setting and its value."""
    assert getattr(TransferConfig(**{name: allowed}), name) == allowed
    with pytest.raises(ConfigError) as raised:
        TransferConfig(**{name: refused})
    assert str(raised.value).startswith(f"{name}={refused!r}: ")
    assert limit in str(raised.value)


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_named_with_its_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        TransferConfig(**{name: value})
    # extra_args may contain keys, so messages never repeat them.
    shown = name if name == "extra_args" else f"{name}={value!r}"
    assert str(raised.value).startswith(f"{shown}: ")


@pytest.mark.parametrize("name", ["Checksum", "ChecksumAlgorithm", "Body", "Key"])
def test_extra_args_that_users_may_not_set_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"extra_args {name}: not supported\. Supported: ACL, .*Tagging"):
        TransferConfig(extra_args={"ACL": "private", name: "x"})


def test_a_config_is_frozen_and_shares_nothing_with_the_next() -> None:
    config = TransferConfig()

    with pytest.raises(AttributeError):
        config.part_size = 8 * MiB  # type: ignore[misc]
    config.extra_args["ACL"] = "private"
    assert TransferConfig().extra_args == {}


def test_override_changes_what_is_named_and_nothing_else() -> None:
    config = TransferConfig(max_concurrency=3, multipart=True)

    changed = config.override({"part_size": 8 * MiB, "multipart": False})

    assert changed == TransferConfig(max_concurrency=3, multipart=False, part_size=8 * MiB)
    assert config == TransferConfig(max_concurrency=3, multipart=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"part_size": 1}, "part_size=1: .*5242880"),
        ({"partsize": 8 * MiB}, "unknown setting 'partsize'; known: .*part_size"),
        ({"extra_args": {"Body": "x"}}, "extra_args Body: not supported"),
    ],
)
def test_override_checks_as_the_constructor_does(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransferConfig().override(values)


def test_the_retry_settings_are_the_retry_policy() -> None:
    config = TransferConfig(max_attempts=7, retry_base_delay=0.5, retry_max_delay=9.0, retry_max_wait=70.0)

    assert config.retry_policy == RetryPolicy(max_attempts=7, base_delay=0.5, max_delay=9.0, max_wait=70.0)


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("MEMORY_LIMIT", "67108864", "memory_limit", 64 * MiB),
        ("MAX_CONCURRENCY", "5", "max_concurrency", 5),
        ("PART_SIZE", "8388608", "part_size", 8 * MiB),
        ("PART_SIZE", "auto", "part_size", "auto"),
        ("MULTIPART", "true", "multipart", True),
        ("MULTIPART", "false", "multipart", False),
        ("STALL_TIMEOUT", "7", "stall_timeout", 7.0),
        ("COMPLETE_TIMEOUT", "900", "complete_timeout", 900.0),
        ("RETRY_MAX_WAIT", "60", "retry_max_wait", 60.0),
        ("VERIFY", "off", "verify", "off"),
        ("DEADLINE", "2.5", "deadline", 2.5),
        ("EXTRA_ARGS", '{"Metadata": {"a": "b"}}', "extra_args", {"Metadata": {"a": "b"}}),
    ],
)
def test_a_variable_overrides_the_default_given(variable: str, text: str, setting: str, value: Any) -> None:
    environ = {f"ASYNCSTREAM_{variable}": text, "HOME": "/root"}
    defaults = {"multipart": not value} if setting == "multipart" else {"max_attempts": 2}

    config = TransferConfig.from_env(environ, **defaults)

    assert config == TransferConfig(**(defaults | {setting: value}))


def test_an_empty_variable_counts_as_unset() -> None:
    config = TransferConfig.from_env(
        {"ASYNCSTREAM_MULTIPART": "", "ASYNCSTREAM_PART_SIZE": ""}, multipart=True
    )

    assert config == TransferConfig(multipart=True)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("MAX_CONCURRENCY", "many", "ASYNCSTREAM_MAX_CONCURRENCY='many': .*int"),
        ("MAX_CONCURRENCY", "0", "ASYNCSTREAM_MAX_CONCURRENCY='0': .*>= 1"),
        ("MEMORY_LIMIT", "64MB", "ASYNCSTREAM_MEMORY_LIMIT='64MB': .*int"),
        ("PART_SIZE", "1", "ASYNCSTREAM_PART_SIZE='1': .*>= 5242880"),
        ("MULTIPART", "yes", "ASYNCSTREAM_MULTIPART='yes': .*bool"),
        ("DEADLINE", "-1", "ASYNCSTREAM_DEADLINE='-1': .*> 0"),
        ("EXTRA_ARGS", "ACL=private", "ASYNCSTREAM_EXTRA_ARGS is not JSON"),
        ("EXTRA_ARGS", '["ACL"]', "extra_args: .*object"),
        ("EXTRA_ARGS", '{"Body": 1}', "extra_args Body: not supported"),
        ("PARTSIZE", "8388608", "ASYNCSTREAM_PARTSIZE is not a setting"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_with_its_value(
    variable: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TransferConfig.from_env({f"ASYNCSTREAM_{variable}": text})


def test_from_env_reads_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCSTREAM_MAX_ATTEMPTS", "9")

    assert TransferConfig.from_env().max_attempts == 9


@pytest.mark.parametrize(
    ("configured", "function", "resident", "limit"),
    [
        (10 * MiB, None, 0, 10 * MiB),
        (10 * MiB, 512 * MiB, 100 * MiB, 10 * MiB),
        (None, None, 100 * MiB, DEFAULT_MEMORY_LIMIT),
        (None, 512 * MiB, 100 * MiB, 412 * MiB - LAMBDA_MARGIN),
        (10**10, None, 100 * MiB, 10**10),
        (10**10, 512 * MiB, 100 * MiB, 412 * MiB - LAMBDA_MARGIN),
    ],
    ids=[
        *("set", "set in Lambda", "outside Lambda", "in Lambda: free memory less a margin"),
        *("any number outside Lambda", "in Lambda at most the free memory"),
    ],
)
def test_the_memory_limit(configured: int | None, function: int | None, resident: int, limit: int) -> None:
    assert memory_limit_or_default(configured, function, resident) == limit


@pytest.mark.parametrize("configured", [None, MiB])
def test_a_function_without_free_memory_gets_both_numbers(configured: int | None) -> None:
    with pytest.raises(ConfigError, match=r"128 MB leave no memory.*112 MiB are in use"):
        memory_limit_or_default(configured, 128 * MiB, 112 * MiB)


@pytest.mark.parametrize(
    ("configured", "function", "size"),
    [
        (16 * MiB, None, 16 * MiB),
        (16 * MiB, 128 * MiB, MiB // 2),
        (MiB // 4, 128 * MiB, MiB // 4),
        (16 * MiB, 4096 * MiB, 16 * MiB),
    ],
)
def test_the_chunk_size_is_small_in_a_small_function(
    configured: int, function: int | None, size: int
) -> None:
    assert chunk_size_within(configured, function) == size


def test_a_memory_limit_that_is_lowered_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    memory_limit_or_default(10**10, 128 * MiB, 50 * MiB)

    assert caplog.messages == [
        "memory_limit of 10000000000 bytes is more than the function has left: using 65011712 bytes"
    ]


@pytest.mark.parametrize(
    ("environ", "memory"),
    [
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, 512 * MiB),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": ""}, None),
    ],
)
def test_a_lambdas_memory_is_found_by_its_environment(environ: dict[str, str], memory: int | None) -> None:
    assert lambda_memory(environ) == memory
    assert lambda_memory({}) is None


def test_resident_memory_is_in_bytes_and_not_above_its_peak() -> None:
    block = bytearray(32 * MiB)
    block[:: 4 * KiB] = b"x" * (len(block) // (4 * KiB))  # touched, so resident

    assert 32 * MiB < resident() <= peak_resident()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ContentType", 5, "must be str, not int"),
        ("BucketKeyEnabled", "yes", "must be bool, not str"),
        ("Metadata", "x", "must be dict, not str"),
        ("Metadata", {"a": 1}, "must map str to str"),
        ("SSECustomerKey", 5, "must be str or bytes, not int"),
        ("Expires", "never", "is not an ISO 8601 date"),
    ],
)
def test_extra_args_that_botocore_could_not_send_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"extra_args\['{name}'\].*{message}"):
        TransferConfig(extra_args={name: value})


def test_a_secret_key_of_the_wrong_type_is_not_in_the_error() -> None:
    with pytest.raises(ConfigError) as raised:
        TransferConfig(extra_args={"SSECustomerKey": ["secret"]})
    assert "secret" not in str(raised.value)
