"""`Closing`: an object that the end of a `with` block closes."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """An object that is usable once constructed and is closed when no longer needed."""

    @abstractmethod
    def close(self) -> None:
        """Release everything that the object holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
