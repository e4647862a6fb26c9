"""The Protocols between the writer and what it stands on: a driver and its connections, and AWS's passwords.

All are `async def`; the blocking implementations block and never suspend, see `asyncstream/ports.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Connection(Protocol):
    """One connection to Postgres, in which every statement is a transaction of its own."""

    async def fetch(self, statement: str, parameters: Sequence[str], seconds: float) -> list[tuple[Any, ...]]:
        """What a statement returns, its parameters bound as $1, $2; an AsyncstreamError where it fails.

        What takes longer than that is called off, and the connection closed.
        """

    async def close(self) -> None:
        """Close it, at once."""


class Driver(Protocol):
    """psycopg, blocking or asyncio: the only code that differs between the engines."""

    async def connect(self, parameters: Mapping[str, str], seconds: float) -> Connection:
        """A new connection by libpq's parameters, within about so many seconds; or an AsyncstreamError."""


class PasswordSource(Protocol):
    """Where AWS keeps or makes passwords."""

    async def secret(self, name: str, seconds: float) -> str:
        """The text of a secret of Secrets Manager, by its ARN or name, within about so many seconds."""

    async def token(self, host: str, port: int, user: str) -> str:
        """An IAM token to log in with, valid for 15 minutes."""
