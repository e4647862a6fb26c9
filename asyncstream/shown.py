"""`shown`: a value as error messages may show it. A value may be a customer's key in the wrong place."""

from typing import Any

# Characters of a text that a message repeats.
MAX_SHOWN = 100


def shown(value: Any) -> str:
    """Return the start of a text or number; only the type of other values."""
    if value is None or isinstance(value, str | int | float):
        return f"{value!r:.{MAX_SHOWN}}"
    return f"a value of type {type(value).__name__}"
