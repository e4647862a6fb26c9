"""The Protocols that the writer builds on: a driver, its connections, and a source of AWS passwords.

All methods are `async def`; the blocking implementations block and never suspend, see `asyncstream/ports/`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Connection(Protocol):
    """One connection to Postgres, in which every statement is a transaction of its own."""

    async def fetch(self, statement: str, parameters: Sequence[str], seconds: float) -> list[tuple[Any, ...]]:
        """Run a statement with its parameters bound as $1, $2, and return its rows.

        A statement that takes longer than `seconds` is cancelled, and the connection closed.

        Raises:
            AsyncstreamError: the statement failed.
        """

    async def close(self) -> None:
        """Close the connection at once."""


class Driver(Protocol):
    """psycopg, blocking or asyncio: the only code that differs between the engines."""

    async def connect(self, parameters: Mapping[str, str], seconds: float) -> Connection:
        """Open a connection with libpq's parameters within about `seconds`, or raise an AsyncstreamError."""


class PasswordSource(Protocol):
    """A source of passwords in AWS."""

    async def secret(self, name: str, seconds: float) -> str:
        """Return the text of a Secrets Manager secret, by ARN or name, within about `seconds`."""

    async def token(self, host: str, port: int, user: str) -> str:
        """Return an IAM token to log in with, valid for 15 minutes."""
