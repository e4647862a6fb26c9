"""The process whose memory the soak measures. It copies batch after batch with one engine.

It prints one JSON line: how the files ended, which were copied, and the peak memory of the process.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, cast

from asyncstream import MiB, S3Object, TransferConfig, TransferSession
from asyncstream.pipeline.memory import peak_resident
from tests.places import key_of

if TYPE_CHECKING:
    from asyncstream.engines import EngineName

BATCH = 100


def main() -> None:
    """Copy the keys on standard input, one per line."""
    engine, destination = cast("EngineName", sys.argv[1]), sys.argv[2]
    keys = sys.stdin.read().split()
    ended: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    copied: list[str] = []
    config = TransferConfig(
        max_concurrency=10, multipart=True, part_size=5 * MiB, retry_base_delay=0.01, stall_timeout=2.0
    )
    with TransferSession(engine) as session:
        for first in range(0, len(keys), BATCH):
            batch = keys[first : first + BATCH]
            report = session.transfer(
                [(S3Object("sources", key), S3Object(destination, key)) for key in batch], config
            )
            for file in report.files:
                ended[file.status] += 1
                if file.status == "copied":
                    copied.append(key_of(file.destination))
                if file.error is not None:
                    errors[type(file.error).__name__] += 1
    outcome = {"ended": ended, "errors": errors, "peak": peak_resident(), "copied": copied}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
