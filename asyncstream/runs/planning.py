"""`plan_run`: write the batches of a run, and what the run is."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from asyncstream.runs.costs import Speeds
from asyncstream.runs.descriptions import Kind, Totals
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.running import Worker


class PlanRequest(Struct, frozen=True, kw_only=True):
    """What to plan.

    Attributes:
        source: the prefix, manifest, list, archive or text.
        destination: the prefix that it is copied to.
        base: of lists and inventories: the prefix of sources that `destination` replaces; empty: the bucket.
        kind: see `Kind`.
        settings: settings of `TransferConfig` for all batches.
        functions: how many workers are expected at once.
        speeds: how fast each is.
        version_id: the version of an archive; empty for the current one.
        select, encoding, as_gzip: which files of an archive, and how; see `Entries`.
        ranges, header: how to cut a text; see `Lines`. None: as many ranges as its size asks for.
        join: where to put the ranges of a text together; empty: nowhere.
    """

    source: str
    destination: str
    base: str = ""
    kind: Kind = "prefix"
    settings: Mapping[str, Any] = {}
    functions: int = 50
    speeds: Speeds = Speeds()
    version_id: str = ""
    select: str = "*"
    encoding: str = ""
    as_gzip: bool = False
    ranges: int | None = None
    header: bool = False
    join: str = ""


class PlanProgress(Struct, frozen=True):
    """How far a plan is.

    Attributes:
        totals: what it has counted so far.
        position: JSON with which to continue; None: the plan is whole.
    """

    totals: Totals
    position: Any = None


def plan_run(store: RunStore, asked: PlanRequest, worker: Worker, position: Any = None) -> PlanProgress:
    """Write batches until the plan is whole, or until the time is up."""
    raise NotImplementedError


def count_run(asked: PlanRequest, worker: Worker, position: Any = None) -> PlanProgress:
    """Count what a plan would have, without writing anything, until that is whole or the time is up."""
    raise NotImplementedError
