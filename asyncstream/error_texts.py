"""What an error says: its message with its notes, and the errors it was raised from."""

import re
from collections.abc import Iterator

# JSON's "\ud800" becomes half of a surrogate pair. UTF-8 cannot encode it, so no log or reply can hold it.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """Return the text with U+FFFD in place of each half of a surrogate pair, so that UTF-8 can encode it."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def full_message(error: BaseException | None) -> str:
    """Return an error's message and its notes, which name uploads that could not be aborted."""
    return encodable("; ".join([str(error or ""), *getattr(error, "__notes__", ())]))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors it was raised from, outermost first; each once: they may form a ring."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
