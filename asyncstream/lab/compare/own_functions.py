"""The Lambda functions that are compared with others: those of `handlers/`, which an installed package lacks.

The runtime client asks this module for `copy_threads` or `gather_threads`. Only that handler is made, as each
opens its clients when it is made.
"""

from collections.abc import Callable
from typing import Any


def __getattr__(name: str) -> Callable[..., Any]:
    """Return the handler of a kind of work and an engine.

    Raises:
        AttributeError: it names no kind of work.
    """
    work, _, engine = name.partition("_")
    if work == "copy":
        from asyncstream import lambda_handler  # noqa: PLC0415 - loads the SDKs, which gathering does without

        return lambda_handler(engine=engine, multipart=False)  # the event says whether it is
    if work == "gather":
        from asyncstream.gathering import lambda_handler as gathering_handler  # noqa: PLC0415

        return gathering_handler(engine=engine)
    raise AttributeError(f"no handler {name!r}")
