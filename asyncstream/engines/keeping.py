"""Engines kept between mappings, so that threads and event loop stay warm; borrowed by `mapping.py`.

`session.py` keeps others, together with the clients that live on them.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

from asyncstream.engines import open_engine
from asyncstream.ports import Engine

_idle: dict[str, Engine] = {}

# A child has none of its parent's threads.
os.register_at_fork(after_in_child=_idle.clear)


@contextmanager
def borrowed(name: str) -> Iterator[Engine]:
    """The engine of that name for oneself: the one that is kept, or a new one while others have that.

    So mappings may be open within each other, and in several threads.
    """
    engine = _idle.pop(name, None) or open_engine(name)
    try:
        yield engine
    finally:
        if _idle.setdefault(name, engine) is not engine:
            engine.close()


@atexit.register
def close_idle_engines() -> None:
    """End the threads and the loop that are kept; runs at exit by itself."""
    while _idle:
        _idle.popitem()[1].close()
