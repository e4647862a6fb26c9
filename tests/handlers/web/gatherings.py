"""Helpers for the tests of the functions that gather pages."""

from collections.abc import Callable
from typing import Any

from asyncstream.lab.web.model import rows_of_page

Event = Any
HANDLERS = ("web_sequential", "web_threads", "web_asyncio")
SHIPPED = "rows_shipped_with_the_function"
LEAVES = "leaves_when_it_is_imported"
CODE = """
import json
import sys

class Panic(BaseException):
    pass

def items(page):
    return json.loads(page.body)

def broken(page):
    return 1 / 0

def leaving(page):
    sys.exit(3)

def panicking(page):
    yield {"id": 1}
    raise Panic("odd")

async def awaited(page):
    return []

def takes_two(page, more):
    return []

NUMBER = 5
"""
SECONDS = 60.0
# 268 s of these are for fetching; the rest is reserved for writing and the reply.
SHORT = 300.0

Invoke = Callable[..., dict[str, Any]]


def stored(*numbers: int) -> list[tuple[Any, ...]]:
    """Return the rows that the table has for the pages with these numbers."""
    return [tuple(row.values()) for number in numbers for row in rows_of_page(number)]
