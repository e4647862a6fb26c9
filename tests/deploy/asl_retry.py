"""How long Step Functions waits before it runs a failed state again.

Amazon States Language, "Retrying after error": the first retrier that names the error decides, and each
retrier counts its own attempts.
"""

from collections.abc import Callable, Mapping
from typing import Any


class Retries:
    """The retriers of one state that is running.

    Args:
        state: the state's definition in the machine.
        draw: maps the longest wait to the wait that full jitter draws, both in seconds. Default: the longest.
    """

    def __init__(
        self, state: Mapping[str, Any], draw: Callable[[float], float] = lambda longest: longest
    ) -> None:
        self._retriers = state.get("Retry", [])
        self._attempts = [0] * len(self._retriers)
        self._draw = draw

    def next_wait(self, error: str) -> float | None:
        """Return the seconds until the next attempt after this error; None if the state fails."""
        for number, retrier in enumerate(self._retriers):
            if error in retrier["ErrorEquals"]:
                return self._count(number, retrier)
        return None

    def _count(self, number: int, retrier: Mapping[str, Any]) -> float | None:
        attempts = self._attempts[number]
        if attempts >= retrier["MaxAttempts"]:
            return None
        self._attempts[number] += 1
        wait = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempts
        wait = min(wait, retrier.get("MaxDelaySeconds", wait))
        return self._draw(wait) if retrier.get("JitterStrategy") == "FULL" else wait
