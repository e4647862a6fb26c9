"""Calls one handler once and measures it: a process of its own, started by `process.py`.

Run as a file, and importing nothing of asyncstream: what a handler imports must be seen to be its own,
in its import time and in its memory. Reads {"file", "function", "event", "boto3_session"} as JSON from
standard input; the last line it prints is the result, as JSON.
"""

import json
import os
import re
import runpy
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

LAMBDA_SECONDS = 15 * 60


class Context:
    """What handlers use of Lambda's context object: a function with Lambda's longest timeout."""

    def __init__(self) -> None:
        self._end = time.monotonic() + LAMBDA_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the invocation."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def main() -> None:
    """Measure the import, then the call."""
    task = json.load(sys.stdin)
    # The lab needs awscrt, Lambda's packages do not have it; botocore would load its 6 MB if it could.
    sys.modules["awscrt"] = None  # type: ignore[assignment]
    began, cpu_began = time.monotonic(), time.process_time()
    handler = runpy.run_path(task["file"])[task["function"]]
    result: dict[str, Any] = {
        "import_seconds": time.monotonic() - began,
        "import_cpu_seconds": time.process_time() - cpu_began,
    }
    sent: Counter[str] = Counter()
    if task["boto3_session"]:
        set_up_boto3(sent)
    began, cpu_began = time.monotonic(), time.process_time()
    try:
        reply = handler(task["event"], Context())
    except Exception as error:  # noqa: BLE001 - whatever it is becomes the row's error
        result["error"] = f"{type(error).__name__}: {error}"
    else:
        result["error"] = failure_in(reply)
        totals = reply.get("totals") or {}
        result["requests"] = totals.get("requests", dict(sent))
    result["seconds"] = time.monotonic() - began
    result["cpu_seconds"] = time.process_time() - cpu_began
    result["peak_bytes"] = peak_bytes()
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def failure_in(reply: dict[str, Any]) -> str | None:
    """What a handler's reply says went wrong, if something did."""
    if reply.get("status", "copied") == "copied" and not reply.get("error"):
        return None
    failures = reply.get("failures") or [{}]
    problem = reply.get("error") or failures[0].get("error") or {"type": reply["status"], "message": "?"}
    many = f" (and {len(failures) - 1:,} more files)" if len(failures) > 1 else ""
    return f"{problem['type']}: {problem['message']}{many}"


def set_up_boto3(sent: "Counter[str]") -> None:
    """Make the default session, which the reference code uses, count what it sends.

    Over plain http botocore would also hash each body to sign it, which it does not over https, so not
    in Lambda. A laptop's http endpoint must not make the reference look slower than it is.
    """
    import boto3  # noqa: PLC0415 - has been imported by the handler, whose import was to be measured
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = botocore.session.get_session()
    session.register("before-send.s3", lambda event_name, **_: sent.update([event_name.rpartition(".")[2]]))
    if os.environ.get("AWS_ENDPOINT_URL_S3", "").startswith("http://"):
        session.set_default_client_config(Config(s3={"payload_signing_enabled": False}))
    boto3.setup_default_session(botocore_session=session)


def peak_bytes() -> int:
    """The most bytes this process had resident; like `asyncstream.memory`, which must not be loaded here."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
