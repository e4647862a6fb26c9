"""`Closing`: an object that the end of a `with` block closes."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Something that is ready when it is made, and is closed once it is not needed."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
