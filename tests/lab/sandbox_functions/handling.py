"""Handlers that behave well and badly; the tests run them in the sandbox."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

print("imported")  # noqa: T201
calls = 0


def describe(event: Any, context: Any) -> dict[str, Any]:
    global calls  # noqa: PLW0603
    calls += 1
    print(f"call {calls}")  # noqa: T201
    return {
        "event": event,
        "calls": calls,
        "pid": os.getpid(),
        "remaining": context.get_remaining_time_in_millis(),
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "name": context.function_name,
        "variables": dict(os.environ),
        "awscrt": sys.modules.get("awscrt", "was not hidden"),
    }


def allocate(event: Any, context: Any) -> int:
    memory = bytearray(event["mb"] << 20)
    for position in range(0, len(memory), 4096):
        memory[position] = 1
    return len(memory)


def compute(event: Any, context: Any) -> None:
    end = time.process_time() + event["cpu_seconds"]
    while time.process_time() < end:
        pass


def wait(event: Any, context: Any) -> None:
    time.sleep(event["seconds"])


def wait_for_file(event: Any, context: Any) -> None:
    while not Path(event["path"]).exists():
        time.sleep(0.005)


def leave(event: Any, context: Any) -> None:
    os._exit(event["status"])


def fall(event: Any, context: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail(event: Any, context: Any) -> None:
    raise ValueError(f"no {event['what']}")


def talk(event: Any, context: Any) -> str:
    print("x" * event["bytes"])  # noqa: T201
    return "y" * int(event.get("reply", 0))


def unserializable(event: Any, context: Any) -> Any:
    return {1, 2}
