"""The usual code for gathering pages, without asyncstream: urllib fetches pages, and each row is an INSERT.

These Lambda handlers accept the same events as asyncstream's.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.request import urlopen

import items
import psycopg
from psycopg.sql import SQL, Identifier

# One connection for all threads, which may share it. It runs one statement at a time.
connection = psycopg.connect(os.environ["POSTGRES_DSN"], autocommit=True)


def one_by_one(event: Any, context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda passes it
    """Gather the pages one by one."""
    for url in event["urls"]:
        gather(event["table"]["name"], url)
    return {"pages": len(event["urls"])}


def thread_pool(event: Any, context: Any) -> dict[str, int]:  # noqa: ARG001
    """Gather the pages on a pool of threads."""
    core_function = partial(gather, event["table"]["name"])
    with ThreadPoolExecutor(max_workers=event["config"]["max_concurrency"]) as executor:
        result = executor.map(core_function, event["urls"])
    return {"pages": len(list(result))}


def gather(table: str, url: str) -> None:
    """Fetch one page, and insert its rows."""
    insert = SQL("INSERT INTO {} (id, page, name, price) VALUES (%s, %s, %s, %s)").format(Identifier(table))
    with urlopen(url) as page:  # noqa: S310 - http, of the event
        found = items.parse_rows(page.read())
    for row in found:
        connection.execute(insert, (row["id"], row["page"], row["name"], row["price"]))
