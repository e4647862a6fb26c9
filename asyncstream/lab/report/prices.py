"""What a run would cost on AWS: one dated table of prices, and the arithmetic.

The table is `prices.json` beside this file. Another one of the same form may take its place.
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

# S3 charges PUT, COPY, POST and LIST as writes; creating and completing an upload are POSTs.
WRITES = frozenset({"Complete", "Copy", "Create", "List", "Post", "Put", "Restore", "Upload"})
FREE = frozenset({"Abort", "Delete"})  # "DELETE and CANCEL requests are free"


class PriceTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices in USD, and when and where they were read.

    Attributes:
        date: the day they were written down.
        source: where they come from, and which of the tiers they are.
        region: the AWS region they are of.
        gb_second: Lambda compute, by architecture.
        million_invocations: a million Lambda requests.
        thousand_writes: a thousand PUT, COPY, POST or LIST requests to S3.
        thousand_reads: a thousand GET or HEAD requests to S3.
    """

    date: str
    source: str
    region: str
    gb_second: dict[Architecture, Usd]
    million_invocations: Usd
    thousand_writes: Usd
    thousand_reads: Usd

    def of_compute(self, gb_seconds: float, architecture: Architecture) -> float:
        """USD of one invocation.

        Raises:
            ConfigError: the table has no price for this architecture.
        """
        try:
            each = self.gb_second[architecture]
        except KeyError:
            raise ConfigError(f"the price table of {self.date} has no gb_second for {architecture}") from None
        return gb_seconds * each + self.million_invocations / 1e6

    def of_requests(self, requests: Mapping[str, int]) -> float:
        """USD of S3 requests, given by operation."""
        usd = 0.0
        for operation, count in requests.items():
            verb = re.split(r"(?<=[a-z])(?=[A-Z])", operation)[0]
            if verb in WRITES:
                usd += count * self.thousand_writes / 1000
            elif verb not in FREE:
                usd += count * self.thousand_reads / 1000
        return usd


def gb_seconds(memory_mb: int, seconds: float) -> float:
    """What Lambda bills: memory times duration, each started millisecond counted."""
    return memory_mb / 1024 * math.ceil(round(seconds * 1000, 6)) / 1000


def of_thousand_runs(usd: float) -> str:
    """USD of a thousand runs, given those of one, with the digits that tell such amounts apart."""
    return f"{usd * 1000:.3f}" if usd >= 0.1e-3 else f"{usd * 1000:.4f}"


def load(path: Path | None = None) -> PriceTable:
    """The project's table, or the one in a file.

    Raises:
        ConfigError: the file cannot be read, or is no such table.
    """
    if path is None:
        return _decoded(
            (resources.files("asyncstream.lab.report") / "prices.json").read_bytes(), "prices.json"
        )
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
