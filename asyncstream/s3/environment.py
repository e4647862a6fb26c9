"""What new S3 clients take from the process: its variables, and whether moto mocks AWS. Imports no SDK."""

import os
import sys
from collections.abc import Hashable, Mapping


def client_environment(environ: Mapping[str, str] = os.environ) -> Hashable:
    """Return what clients depend on besides their settings. Clients of another environment must not be used.

    It is another one in a test under moto's `mock_aws`, or after a test that set AWS_ENDPOINT_URL_S3.
    """
    variables = frozenset(
        (name, value)
        for name, value in environ.items()
        if name.startswith("AWS_") or name.lower().endswith("_proxy")
    )
    return variables, is_mocked()


def is_mocked() -> bool:
    """Return whether moto's `mock_aws` is active: then moto answers requests to AWS within this process."""
    if "moto" not in sys.modules:
        return False
    from botocore.handlers import BUILTIN_HANDLERS  # noqa: PLC0415 - moto has imported it

    # moto adds one handler to those of every new client, and enables it in tests.
    # https://github.com/getmoto/moto/blob/5.2.5/moto/core/models.py#L267
    return any(
        type(handler).__module__.startswith("moto.") and getattr(handler, "enabled", False)
        for event, handler, *_ in reversed(BUILTIN_HANDLERS)
        if event == "before-send"
    )
