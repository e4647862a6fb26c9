"""The reference as Lambda handlers: `copying.py`, with its requests counted.

Over plain http, botocore would also hash each body to sign it. Over https, and so in Lambda, it does not.
Signing is off, so that a local http endpoint does not make the reference look slower than it is.
"""

import os
from collections import Counter
from typing import Any

import boto3
import botocore.session
import copying
from botocore.config import Config

sent: Counter[str] = Counter()


def set_up() -> None:
    """Count the requests of the default session, which `copying` uses."""
    session = botocore.session.get_session()
    session.register("before-send.s3", lambda event_name, **_: sent.update([event_name.rpartition(".")[2]]))
    if os.environ.get("AWS_ENDPOINT_URL_S3", "").startswith("http://"):
        session.set_default_client_config(Config(s3={"payload_signing_enabled": False}))
    boto3.setup_default_session(botocore_session=session)


set_up()


def one_by_one(event: Any, context: Any) -> dict[str, Any]:
    """Copy the files one by one."""
    return {"status": "copied", **copying.one_by_one(event, context), "totals": {"requests": dict(sent)}}


def thread_pool(event: Any, context: Any) -> dict[str, Any]:
    """Copy the files on a pool of threads."""
    return {"status": "copied", **copying.thread_pool(event, context), "totals": {"requests": dict(sent)}}
