"""Runs: a plan of batches in S3, and the workers that move them. See `docs/runs.md`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncstream.runs.calls import batch_uris, run_batch

__all__ = ["batch_uris", "run_batch"]


def __getattr__(name: str) -> Any:
    """Import what a program asks for: a function that copies files needs none of it at its cold start."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from asyncstream.runs import calls  # noqa: PLC0415

    return getattr(calls, name)
