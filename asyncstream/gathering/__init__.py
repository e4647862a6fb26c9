"""Pages of the web gathered into a table of Postgres: fetched many at once, written few at a time."""

from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.invoke import lambda_handler
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.gathering.session import GatherSession, gather_pages, gather_pages_async
from asyncstream.postgres.config import DatabaseConfig
from asyncstream.postgres.statements import Table
from asyncstream.web import FetchConfig, Page

__all__ = [
    "DatabaseConfig",
    "FetchConfig",
    "GatherConfig",
    "GatherReport",
    "GatherSession",
    "Page",
    "PageResult",
    "Table",
    "gather_pages",
    "gather_pages_async",
    "lambda_handler",
]
