"""The durations of all spans by name, sent or not. Pure."""

import math
from array import array


class Summary:
    """Durations by name. Several threads may add at once."""

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add the duration of one span."""
        # `setdefault` and `append` are both atomic, so no value is lost.
        self._seconds.setdefault(name, array("d")).append(seconds)

    def rows(self) -> dict[str, dict[str, float]]:
        """Return by name the count, and min, p50, p95, max and sum in seconds (nearest-rank percentiles)."""
        return {name: _row(sorted(seconds)) for name, seconds in self._seconds.items()}


def _row(seconds: list[float]) -> dict[str, float]:
    def rank(fraction: float) -> float:
        return round(seconds[math.ceil(fraction * len(seconds)) - 1], 6)

    return {
        "count": len(seconds),
        "min": round(seconds[0], 6),
        "p50": rank(0.5),
        "p95": rank(0.95),
        "max": round(seconds[-1], 6),
        "sum": round(math.fsum(seconds), 6),
    }
