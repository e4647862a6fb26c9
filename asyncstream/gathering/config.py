"""`GatherConfig`: every setting of a gathering, checked before any I/O; used by `session.py` and handlers."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.web.config import ENV_PREFIX, FetchConfig
from asyncstream.settings import Settings, check_names
from asyncstream.units import KiB

# Of this prefix, too: what a function gathers, see `events.Deployed`.
OF_DEPLOYMENT = frozenset({"rows", "event_rows", "urls", "table", "key", "columns"})
# Beside the body of a page: what a connection has in hand, and the JSON of some dozens of rows.
PAGE_EXTRA = 64 * KiB
# Of the time, what is kept back for the last batch, within these bounds: a connection that was lost meanwhile
# takes two seconds to be begun.
WRITING_SHARE, LEAST_WRITING = 0.1, 2.5


class GatherConfig(Settings, frozen=True, kw_only=True):
    """How pages are gathered.

    Attributes:
        max_concurrency: pages fetched at once, 1 to 1000; with "sequential" it is one. Default: 60.
        memory_limit: bytes for the pages in hand and the rows that wait to be written; fewer pages are
            fetched at once where it is less than they may take (`fetch.max_body`). Default: as for
            `TransferConfig`.
        deadline: seconds after which no page is fetched and no row written; a tenth of it, at least 2.5, is
            kept back for writing. What was not begun by then is told as pending. Default: no end.
        fetch: limits of the pages: see `FetchConfig`.
        database: where the rows go: see `DatabaseConfig`.

    Raises:
        ConfigError: a value is of the wrong type or outside its limits, which the message names.
    """

    max_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 60
    memory_limit: Annotated[int, Meta(ge=1)] | None = None
    deadline: Annotated[float, Meta(gt=0)] | None = None
    fetch: FetchConfig = FetchConfig()
    database: DatabaseConfig = DatabaseConfig()

    _prefix: ClassVar[str] = ENV_PREFIX

    @property
    def page_bytes(self) -> int:
        """Bytes of memory that one page in hand takes at most: see `FetchConfig.max_body`."""
        return self.fetch.max_body * 5 // 4 + PAGE_EXTRA

    @property
    def waiting_bytes(self) -> int:
        """Bytes that rows take which wait to be written: less than two batches."""
        return 2 * self.database.batch_bytes

    @property
    def fetching_seconds(self) -> float | None:
        """Seconds after which no page is fetched, so that what was fetched can be written; None: no end."""
        if self.deadline is None:
            return None
        return self.deadline - min(max(self.deadline * WRITING_SHARE, LEAST_WRITING), self.deadline / 2)

    @classmethod
    def read_variables(cls, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings of `GATHER_MAX_CONCURRENCY`, `GATHER_DEADLINE` and so on, with those of
        `FetchConfig` (`GATHER_MAX_BODY`) and of `DatabaseConfig` (`POSTGRES_HOST`).

        `fetch` and `database` are read as wholes: without a variable a setting of theirs has its default.

        Raises:
            ConfigError: a value cannot be read, or a variable of this prefix names no setting.
        """
        parts = {"fetch", "database"}  # they have variables of their own
        own = [name for name in cls.__struct_fields__ if name not in parts]
        known = (*own, *FetchConfig.__struct_fields__, *OF_DEPLOYMENT)
        check_names(variables, ENV_PREFIX, known, "GatherConfig or FetchConfig")
        return super().read_variables(variables) | {
            "fetch": FetchConfig.read_variables(variables),
            "database": DatabaseConfig.from_env(variables),
        }
