"""One run: a fresh process that calls the handler, never left behind; started by `rounds.py`."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncstream.lab.compare.runner import LAMBDA_SECONDS
from asyncstream.lab.compare.variants import Variant
from asyncstream.report.measurement import Failure, Run

_RUNNER = Path(__file__).with_name("runner.py")
_PACKAGE_ROOT = Path(__file__).parents[3]


def call_handler(variant: Variant, event: Mapping[str, Any], environment: Mapping[str, str]) -> Run | Failure:
    """Call the variant's handler in a new process; what was measured, or what failed."""
    process = subprocess.Popen(  # noqa: S603 - our own file
        # -P: the runner's own directory is not where its imports are to be found.
        [sys.executable, "-P", str(_RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(environment),
        text=True,
        # Ctrl-C reaches the whole terminal's group: here only this process decides what ends when.
        start_new_session=True,
    )
    task = {
        "file": str(variant.file),
        "function": variant.function,
        "event": event,
        "boto3_session": variant.way.reference,
    }
    try:
        out, err = process.communicate(json.dumps(task), timeout=LAMBDA_SECONDS + 30)
    except subprocess.TimeoutExpired:
        return Failure(f"Timeout: not done after {LAMBDA_SECONDS} s, which is all that Lambda gives")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return _measured(process.returncode, out, err)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    search_path = f"{_PACKAGE_ROOT}:{environment.get('PYTHONPATH', '')}".rstrip(":")
    # With awscrt botocore would sign otherwise than in Lambda, where boto3 comes without it.
    return {**environment, "PYTHONPATH": search_path, "BOTO_DISABLE_CRT": "true"}


def _measured(status: int, out: str, err: str) -> Run | Failure:
    if status:
        last = err.strip().splitlines()[-1:] or ["no message"]
        ended = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        return Failure(f"the process ended with {ended}: {last[0]}")
    result = json.loads(out.splitlines()[-1])
    if error := result.pop("error"):
        return Failure(error)
    return Run(**result)
