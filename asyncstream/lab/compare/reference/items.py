"""What makes rows of a page, the same in every way: the user's own part."""

import json
from typing import Any


def rows(page: Any) -> list[dict[str, Any]]:
    """The rows of a page, as asyncstream's handlers ask for them."""
    return rows_of(page.body)


def rows_of(body: bytes) -> list[dict[str, Any]]:
    """The rows of a page's body."""
    found: list[dict[str, Any]] = json.loads(body)
    return found
