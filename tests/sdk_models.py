"""Keeps the SDKs' models in memory. Reading them again takes half of the CPU time of a new client."""

import functools
from pathlib import Path
from typing import Any

from botocore.loaders import JSONFileLoader, Loader


class _KeptModels(JSONFileLoader):  # type: ignore[misc]  # untyped
    """Reads each file once."""

    def load_file(self, file_path: str) -> Any:
        data = _read_once(file_path)
        if Path(file_path).name == "endpoints":
            # A lean session replaces the services of each partition; see asyncstream/s3/client.py.
            return {**data, "partitions": [dict(each) for each in data["partitions"]]}
        return data


@functools.cache
def _read_once(file_path: str) -> Any:
    return JSONFileLoader().load_file(file_path)


_list_services = Loader.list_available_services
_services: dict[tuple[str, ...], list[str]] = {}


def _list_services_once(self: Loader, type_name: str) -> list[str]:
    """Return the services. botocore looks for them in hundreds of directories."""
    which = (type_name, *self.search_paths)
    if which not in _services:
        _services[which] = _list_services(self, type_name)
    return _services[which]


def keep() -> None:
    """Make all sessions of both SDKs in this process share the models that they read from now on."""
    Loader.FILE_LOADER_CLASS = _KeptModels
    Loader.list_available_services = _list_services_once
