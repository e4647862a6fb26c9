"""`GatherConfig`: every setting of a gathering, checked before any I/O; used by `session.py` and handlers."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from asyncstream.errors import ConfigError
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.web.config import FetchConfig
from asyncstream.units import KiB

ENV_PREFIX = "GATHER_"
# Of this prefix, too: what a function gathers, see `events.Deployed`.
OF_DEPLOYMENT = frozenset({"rows", "event_rows", "urls", "table", "key", "columns"})
# Beside the body of a page: what a connection has in hand, and the JSON of some dozens of rows.
PAGE_EXTRA = 64 * KiB
# Of the time, what is kept back for the last batch, within these bounds: a connection that was lost meanwhile
# takes two seconds to be begun.
WRITING_SHARE, LEAST_WRITING = 0.1, 2.5


class GatherConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    def __post_init__(self) -> None:
        # msgspec checks when it converts, not when Python calls the class: see `TransferConfig`.
        try:
            msgspec.convert({name: getattr(self, name) for name in self.__struct_fields__}, _Checked)
        except msgspec.ValidationError as error:
            raise ConfigError(f"GatherConfig: {error}") from None

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

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values."""
        return msgspec.structs.replace(self, **values)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """`GATHER_MAX_CONCURRENCY`, `GATHER_MAX_BODY`, `GATHER_ALLOWED_NETWORKS` (with commas between),
        `GATHER_HEADERS` (JSON) and so on, those of `FetchConfig` among them; those of `DatabaseConfig` from
        POSTGRES_HOST and so on.

        An empty variable counts as unset, as templates write it.

        Raises:
            ConfigError: a value cannot be read, or a variable of this prefix names no setting.
        """
        # No default of the signature, which `help` prints, with every secret in it.
        variables = os.environ if environ is None else environ
        own = {name for name in cls.__struct_fields__ if name not in {"fetch", "database"}}
        found = {
            name: text
            for name in (*own, *FetchConfig.__struct_fields__)
            if (text := variables.get(f"{ENV_PREFIX}{name.upper()}"))
        }
        settings = (*own, *FetchConfig.__struct_fields__, *OF_DEPLOYMENT)
        known = {f"{ENV_PREFIX}{name.upper()}" for name in settings}
        for name, text in variables.items():
            if name.startswith(ENV_PREFIX) and text and name not in known:
                raise ConfigError(f"{name} names no setting of GatherConfig or FetchConfig")
        fetch: dict[str, Any] = {name: text for name, text in found.items() if name not in own}
        if "allowed_networks" in fetch:
            fetch["allowed_networks"] = fetch["allowed_networks"].split(",")
        if "headers" in fetch:
            fetch["headers"] = _json(f"{ENV_PREFIX}HEADERS", fetch["headers"])
        given = {name: text for name, text in found.items() if name in own}
        try:
            return msgspec.convert(
                {**given, "fetch": fetch, "database": DatabaseConfig.from_env(variables)}, cls, strict=False
            )
        except msgspec.ValidationError as error:
            raise ConfigError(f"the variables {ENV_PREFIX}*: {error}") from None


def _json(name: str, text: str) -> Any:
    """A variable's value; its text, which may hold keys, is in no message."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ConfigError(f"{name} is no JSON: write an object of origins, each with its headers") from None


# The same fields without the check above, for msgspec to check them against.
_Checked = msgspec.defstruct(
    "GatherConfig", [(f.name, f.type) for f in msgspec.structs.fields(GatherConfig)], kw_only=True
)
