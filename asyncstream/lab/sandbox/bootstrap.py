"""The first file that a function's process runs: it starts AWS's runtime client.

Imports nothing of asyncstream: imports, time and memory have to be the function's own.
"""

import os
import sys
import threading


def end_with_the_sandbox() -> None:
    """End when standard input does, which is when the sandbox's process has gone, however it went."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    _, handler, *lacks = sys.argv
    for package in lacks:
        sys.modules[package] = None  # type: ignore[assignment]
    threading.Thread(target=end_with_the_sandbox, daemon=True).start()

    from awslambdaric.__main__ import main

    main([sys.argv[0], handler])
