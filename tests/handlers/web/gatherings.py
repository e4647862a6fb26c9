"""What the tests of the functions that gather pages share besides fixtures; see `conftest.py`."""

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

def of_two(page, more):
    return []

NUMBER = 5
"""
SECONDS = 60.0
# Of which 268 are for fetching: the others are kept for the reply and for writing.
SHORT = 300.0

Invoke = Callable[..., dict[str, Any]]


def stored(*numbers: int) -> list[tuple[Any, ...]]:
    """What the table has of the pages of these numbers."""
    return [tuple(row.values()) for number in numbers for row in rows_of_page(number)]
