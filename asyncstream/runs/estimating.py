"""`estimate_run`: what a run would take, without writing anything."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.planning import PlanRequest
from asyncstream.runs.run_store import Timed
from asyncstream.runs.running import Check, allow_all


class Estimate(Struct, frozen=True):
    """How far an estimate is.

    Attributes:
        figures: what it knows so far; plain JSON.
        position: JSON with which to continue; None: the estimate is whole.
    """

    figures: Mapping[str, Any]
    position: Any = None


def estimate_run(
    asked: PlanRequest,
    session: TransferSession,
    timed: Timed,
    position: Any = None,
    check: Check = allow_all,
) -> Estimate:
    """Read the source until the estimate is whole, or until the time is up."""
    raise NotImplementedError
