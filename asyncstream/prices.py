"""The cost of a run on AWS, computed from a dated table of prices.

The default table is `prices.json`. `--prices` replaces it by another one in the same format.
"""

import math
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import ConfigError

Architecture = Literal["arm64", "x86_64"]
Usd = Annotated[float, Meta(ge=0)]

# S3 charges PUT, COPY, POST and LIST as writes. Creating and completing an upload are POSTs.
WRITES = frozenset({"Complete", "Copy", "Create", "List", "Post", "Put", "Restore", "Upload"})
FREE = frozenset({"Abort", "Delete"})  # "DELETE and CANCEL requests are free"


class PriceTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices in USD, with their date and source.

    Attributes:
        date: the day of the prices.
        source: their source and tier.
        region: their AWS region.
        gb_second: Lambda compute, by architecture.
        million_invocations: a million Lambda requests.
        thousand_writes: a thousand PUT, COPY, POST or LIST requests to S3.
        thousand_reads: a thousand GET or HEAD requests to S3.
        thousand_transitions: a thousand state transitions of Step Functions (Standard). None: the table is of
            an earlier format, and cannot price a run.
    """

    date: str
    source: str
    region: str
    gb_second: dict[Architecture, Usd]
    million_invocations: Usd
    thousand_writes: Usd
    thousand_reads: Usd
    thousand_transitions: Usd | None = None

    def compute_usd(self, gb_seconds: float, architecture: Architecture) -> float:
        """Return the USD for one invocation; see `gb_seconds_usd`."""
        return self.gb_seconds_usd(gb_seconds, architecture) + self.million_invocations / 1e6

    def gb_seconds_usd(self, gb_seconds: float, architecture: Architecture) -> float:
        """Return the USD for Lambda compute, without invocations.

        Raises:
            ConfigError: the table has no price for this architecture.
        """
        try:
            return gb_seconds * self.gb_second[architecture]
        except KeyError:
            raise ConfigError(
                f"the price table of {self.date} has no gb_second for {architecture}: add it"
            ) from None

    def transitions_usd(self, transitions: int) -> float:
        """Return the USD for state transitions.

        Raises:
            ConfigError: the table has no price for them.
        """
        if self.thousand_transitions is None:
            raise ConfigError(f"the price table of {self.date} has no thousand_transitions: add it")
        return transitions * self.thousand_transitions / 1000

    def requests_usd(self, requests: Mapping[str, int]) -> float:
        """Return the USD for S3 requests, given by operation."""
        usd = 0.0
        for operation, count in requests.items():
            verb = re.split(r"(?<=[a-z])(?=[A-Z])", operation)[0]
            if verb in WRITES:
                usd += count * self.thousand_writes / 1000
            elif verb not in FREE:
                usd += count * self.thousand_reads / 1000
        return usd


def gb_seconds(memory_mb: int, seconds: float) -> float:
    """Return the GB-seconds that Lambda bills: memory times duration, rounded up to milliseconds."""
    return memory_mb / 1024 * math.ceil(round(seconds * 1000, 6)) / 1000


def per_thousand_runs(usd: float) -> str:
    """Format the USD for a thousand runs, given the USD for one, with enough digits to compare."""
    return f"{usd * 1000:.3f}" if usd >= 0.1e-3 else f"{usd * 1000:.4f}"


def load(path: Path | None = None) -> PriceTable:
    """Return the project's price table, or the one in a file.

    Raises:
        ConfigError: the file cannot be read, or is not a price table.
    """
    if path is None:
        return _decoded((resources.files("asyncstream") / "prices.json").read_bytes(), "prices.json")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"price table {path}: {error.strerror}") from error
    return _decoded(content, str(path))


def _decoded(content: bytes, name: str) -> PriceTable:
    try:
        return msgspec.json.decode(content, type=PriceTable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"price table {name}: {error}") from None
