"""A clock that only sleeping advances, for code that paces or delays."""


class FakeTime:
    """A clock that advances only when code sleeps. It can overshoot, as real sleeping does."""

    def __init__(self, overshoot: float = 0.0) -> None:
        self.now = 1000.0
        self.sleeps = 0
        self._overshoot = overshoot

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps += 1
        self.now += seconds + self._overshoot
