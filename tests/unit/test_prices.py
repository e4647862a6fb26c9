import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from asyncstream import prices
from asyncstream.errors import ConfigError
from asyncstream.prices import PriceTable

ROUND_NUMBERS = PriceTable(
    date="2000-01-01",
    source="nowhere",
    region="us-east-1",
    gb_second={"arm64": 2.0},
    million_invocations=1_000_000.0,
    thousand_writes=1000.0,
    thousand_reads=10.0,
    thousand_transitions=100.0,
)


def test_the_projects_own_table_is_dated_and_says_its_source() -> None:
    table = prices.load()
    assert len(table.date.split("-")) == 3
    assert "aws.amazon.com" in table.source
    assert table.gb_second == {"arm64": 0.0000133334, "x86_64": 0.0000166667}


def test_lambda_bills_memory_times_each_started_millisecond() -> None:
    assert prices.gb_seconds(1024, 2.0) == 2.0
    assert prices.gb_seconds(512, 2.0001) == pytest.approx(1.0005)
    assert prices.gb_seconds(1024, 0.1 + 0.2) == pytest.approx(0.3)  # 300.00000000000006 ms


def test_compute_costs_its_gb_seconds_and_one_invocation() -> None:
    assert ROUND_NUMBERS.compute_usd(3.0, "arm64") == 7.0


def test_state_transitions_cost_by_the_thousand() -> None:
    assert ROUND_NUMBERS.transitions_usd(50) == 5.0


def test_a_table_of_the_earlier_format_cannot_price_transitions() -> None:
    """It loads, and prices all else: a comparison does not need that price."""
    earlier = replace(ROUND_NUMBERS, thousand_transitions=None)
    assert earlier.requests_usd({"PutObject": 1}) == 1.0
    with pytest.raises(ConfigError, match="2000-01-01 has no thousand_transitions: add it"):
        earlier.transitions_usd(1)


def test_an_architecture_without_a_price_is_refused() -> None:
    with pytest.raises(ConfigError, match="x86_64"):
        ROUND_NUMBERS.compute_usd(3.0, "x86_64")


@pytest.mark.parametrize(
    "operation",
    [
        "PutObject",
        "CopyObject",
        "UploadPart",
        "UploadPartCopy",
        "CreateMultipartUpload",
        "CompleteMultipartUpload",
        "ListObjectsV2",
        "CreateBucket",
    ],
)
def test_writes_and_listings_cost_what_writes_do(operation: str) -> None:
    assert ROUND_NUMBERS.requests_usd({operation: 2}) == 2.0


@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "GetBucketLocation"])
def test_all_else_costs_what_reads_do(operation: str) -> None:
    assert ROUND_NUMBERS.requests_usd({operation: 200}) == 2.0


@pytest.mark.parametrize("operation", ["AbortMultipartUpload", "DeleteObject", "DeleteObjects"])
def test_deleting_is_free(operation: str) -> None:
    assert ROUND_NUMBERS.requests_usd({operation: 200}) == 0


def test_another_table_may_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(
        json.dumps(
            {
                "date": "2030-01-01",
                "source": "a contract",
                "region": "eu-west-1",
                "gb_second": {"arm64": 1e-5},
                "million_invocations": 0.1,
                "thousand_writes": 0.004,
                "thousand_reads": 0.0003,
            }
        )
    )
    assert prices.load(path).region == "eu-west-1"
    assert prices.load(path).thousand_transitions is None


@pytest.mark.parametrize(
    ("content", "expected_message"),
    [("{", "truncated"), ("{}", "missing required field"), ('{"gb_second": {"mips": 1}}', "mips")],
)
def test_a_file_that_is_no_price_table_is_refused_by_name(
    tmp_path: Path, content: str, expected_message: str
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"prices\.json.*{expected_message}"):
        prices.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        prices.load(tmp_path / "absent")
