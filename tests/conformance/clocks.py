"""A clock that tests set."""


class Clock:
    """Stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now
