"""`GatherConfig`: every setting of a gathering, checked before any I/O."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.settings import Settings, check_names
from asyncstream.units import KiB
from asyncstream.web.config import ENV_PREFIX, FetchConfig

# Variables with the same prefix that say what a function gathers: see `events.Deployed`.
DEPLOYMENT_VARIABLES = frozenset({"rows", "event_rows", "urls", "table", "key", "columns"})
# Bytes per page in addition to its body: the connection's buffers, and the JSON of a few dozen rows.
PAGE_EXTRA = 64 * KiB
# The share of the deadline reserved for writing the last batch, and the least seconds reserved. If the
# connection was lost meanwhile, opening a new one may take two seconds.
WRITING_SHARE, MIN_WRITING = 0.1, 2.5


class GatherConfig(Settings, frozen=True, kw_only=True):
    """Limits and settings of a gathering.

    Attributes:
        max_concurrency: pages fetched at once, 1 to 1000; always 1 with the engine "sequential". Default: 60.
        memory_limit: bytes for the pages in progress and the rows waiting to be written. If it is too small
            for `max_concurrency` pages of `fetch.max_body` bytes, fewer pages are fetched at once. Default:
            the same as in `TransferConfig`.
        deadline: seconds after which no page is fetched and no row is written. A tenth of it, at least 2.5
            seconds, is reserved for writing. Pages not fetched in time are reported as pending. Default: no
            deadline.
        fetch: limits for fetching pages: see `FetchConfig`.
        database: the database to write to: see `DatabaseConfig`.

    Raises:
        ConfigError: a value has the wrong type or is outside its limits; the message names it.
    """

    max_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 60
    memory_limit: Annotated[int, Meta(ge=1)] | None = None
    deadline: Annotated[float, Meta(gt=0)] | None = None
    fetch: FetchConfig = FetchConfig()
    database: DatabaseConfig = DatabaseConfig()

    _prefix: ClassVar[str] = ENV_PREFIX

    @property
    def page_bytes(self) -> int:
        """The most bytes of memory that one page in progress takes: see `FetchConfig.max_body`."""
        return self.fetch.max_body * 5 // 4 + PAGE_EXTRA

    @property
    def waiting_bytes(self) -> int:
        """The most bytes that rows waiting to be written take: less than two batches."""
        return 2 * self.database.batch_bytes

    @property
    def fetching_seconds(self) -> float | None:
        """Seconds after which no page is fetched, to leave time for writing; None: no deadline."""
        if self.deadline is None:
            return None
        return self.deadline - min(max(self.deadline * WRITING_SHARE, MIN_WRITING), self.deadline / 2)

    @classmethod
    def read_variables(cls, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings given by `GATHER_MAX_CONCURRENCY`, `GATHER_DEADLINE` and so on, including those
        of `FetchConfig` (`GATHER_MAX_BODY`) and `DatabaseConfig` (`POSTGRES_HOST`).

        `fetch` and `database` are always included. Their settings without a variable have their defaults.

        Raises:
            ConfigError: a value cannot be read, or a variable with this prefix does not name a setting.
        """
        parts = {"fetch", "database"}  # their variables are read below
        own = [name for name in cls.__struct_fields__ if name not in parts]
        known = (*own, *FetchConfig.__struct_fields__, *DEPLOYMENT_VARIABLES)
        check_names(variables, ENV_PREFIX, known, "GatherConfig or FetchConfig")
        return super().read_variables(variables) | {
            "fetch": FetchConfig.read_variables(variables),
            "database": DatabaseConfig.from_env(variables),
        }
