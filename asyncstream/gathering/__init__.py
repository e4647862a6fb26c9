"""Fetch web pages, many at once, and write their rows to a Postgres table in batches."""

from asyncstream.errors import (
    AddressRefused,
    BodyTooLarge,
    BodyUnreadable,
    DatabaseError,
    GatheringFailed,
    HostNotFound,
    PageFailed,
    PageNotFound,
    RedirectRefused,
    RowRefused,
    ServerNotTrusted,
    TableMismatch,
    TableNotFound,
    TransactionConflict,
)
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.invoke import lambda_handler
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.gathering.session import GatherSession, gather_pages, gather_pages_async
from asyncstream.web import FetchConfig
from asyncstream.web.pages import Page

__all__ = [
    "AddressRefused",
    "BodyTooLarge",
    "BodyUnreadable",
    "DatabaseConfig",
    "DatabaseError",
    "FetchConfig",
    "GatherConfig",
    "GatherReport",
    "GatherSession",
    "GatheringFailed",
    "HostNotFound",
    "Page",
    "PageFailed",
    "PageNotFound",
    "PageResult",
    "RedirectRefused",
    "RowRefused",
    "ServerNotTrusted",
    "Table",
    "TableMismatch",
    "TableNotFound",
    "TransactionConflict",
    "gather_pages",
    "gather_pages_async",
    "lambda_handler",
]
