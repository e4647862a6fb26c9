"""The engines: three ways to run tasks, by the names that users give."""

from typing import Literal, get_args

from asyncstream.errors import ConfigError
from asyncstream.ports import Engine

EngineName = Literal["sequential", "threads", "asyncio"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def open_engine(name: str) -> Engine:
    """Return a new engine. Only its own imports are loaded: blocking engines load neither anyio nor asyncio.

    Raises:
        ConfigError: there is no engine of that name.
    """
    match name:
        case "sequential":
            from asyncstream.engines.sequential import SequentialEngine  # noqa: PLC0415

            return SequentialEngine()
        case "threads":
            from asyncstream.engines.threads import ThreadsEngine  # noqa: PLC0415

            return ThreadsEngine()
        case "asyncio":
            from asyncstream.engines.aio import AsyncioEngine  # noqa: PLC0415

            return AsyncioEngine()
    raise ConfigError(f"unknown engine {name!r}: choose one of {', '.join(ENGINES)}")
