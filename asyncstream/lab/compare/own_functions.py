"""asyncstream's Lambda handlers for comparisons, the same as those in `handlers/`, which is not installed.

The runtime client reads an attribute such as `copy_threads` or `gather_threads`. The module creates only that
handler, because each handler opens its clients when it is created.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from asyncstream.engines import EngineName


def __getattr__(name: str) -> Callable[..., Any]:
    """Return the handler of a kind of work and an engine.

    Raises:
        AttributeError: the name does not start with `copy_` or `gather_`.
    """
    work, _, rest = name.partition("_")
    engine = cast("EngineName", rest)  # `lambda_handler` checks it
    if work == "copy":
        from asyncstream import lambda_handler  # noqa: PLC0415 - imports the SDKs, which gathering does not need

        return lambda_handler(engine=engine, multipart=False)  # the event overrides it
    if work == "gather":
        from asyncstream.gathering import lambda_handler as gathering_handler  # noqa: PLC0415

        return gathering_handler(engine=engine)
    raise AttributeError(f"there is no handler {name!r}: use copy_ENGINE or gather_ENGINE")
