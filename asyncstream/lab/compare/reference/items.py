"""The user's part, the same for every variant: makes the rows of a page."""

import json
from typing import Any


def rows(page: Any) -> list[dict[str, Any]]:
    """Return the rows of a page, for asyncstream's handlers."""
    return parse_rows(page.body)


def parse_rows(body: bytes) -> list[dict[str, Any]]:
    """Return the rows of a page's body."""
    found: list[dict[str, Any]] = json.loads(body)
    return found
