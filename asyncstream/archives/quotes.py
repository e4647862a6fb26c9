"""Count the quotes of a range of a CSV as it passes: an odd number shows a cut within quotes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from asyncstream.errors import CutInQuotes
from asyncstream.objects import ByteRange


class QuoteCount:
    """The quotes of one file, counted over the pieces that are read of it.

    Several tasks use it at once without a lock, each for its own piece. A piece that is read again takes the
    place of the earlier one.

    Args:
        name: the file, for messages.
        size: its bytes.
    """

    def __init__(self, name: object, size: int) -> None:
        self._name = name
        self._size = size
        self._pieces: dict[int, tuple[int, int]] = {}  # by where they start: where they stop, and the quotes

    async def counted(
        self, chunks: AsyncGenerator[bytes | memoryview, None], wanted: ByteRange
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the chunks of a piece.

        Raises:
            CutInQuotes: this chunk is the last of all bytes, and they have an odd number of quotes.
        """
        at, quotes = wanted.start, 0
        async with aclosing(chunks):
            try:
                async for chunk in chunks:
                    quotes += bytes(chunk).count(b'"')
                    at += len(chunk)
                    if at == wanted.stop:
                        self.add(wanted.start, at, quotes)
                        self.check()
                    yield chunk
            finally:
                if at < wanted.stop:  # another piece starts there
                    self.add(wanted.start, at, quotes)

    def add(self, start: int, stop: int, quotes: int) -> None:
        """Note the quotes of a piece."""
        if start < stop:
            self._pieces[start] = stop, quotes

    def check(self) -> None:
        """Check the number of quotes, if all pieces are known.

        Raises:
            CutInQuotes: it is odd.
        """
        at = total = 0
        while at < self._size:
            if at not in self._pieces:
                return
            at, quotes = self._pieces[at]
            total += quotes
        if total % 2:
            raise CutInQuotes(
                f"{self._name} has {total:,} quotes, an odd number: a cut is within quotes, or the text is "
                "not a CSV as in RFC 4180. Cut it into another number of ranges, or copy it as one file"
            )
