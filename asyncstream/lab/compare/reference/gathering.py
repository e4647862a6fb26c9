"""The code people write today to gather pages: each fetched by the standard library, each row a statement.

Not asyncstream's. Run as Lambda handlers by the comparison, with the events that asyncstream's own take.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.request import urlopen

import items
import psycopg
from psycopg.sql import SQL, Identifier

# One for all: threads may share it, and it does one statement at a time.
connection = psycopg.connect(os.environ["POSTGRES_DSN"], autocommit=True)


def one_by_one(event: Any, context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda passes it
    """Gather each page after the other."""
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
        found = items.rows_of(page.read())
    for row in found:
        connection.execute(insert, (row["id"], row["page"], row["name"], row["price"]))
