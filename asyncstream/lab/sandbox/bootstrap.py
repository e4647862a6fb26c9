"""The first file that a function's process runs. It starts AWS's runtime client.

It imports nothing from asyncstream, so that imports, time and memory are the function's own.
"""

import os
import sys
import threading


def end_with_the_sandbox() -> None:
    """Exit when standard input ends, which is when the sandbox's process ends, even if it is killed."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    _, handler, *lacks = sys.argv
    for package in lacks:
        sys.modules[package] = None  # type: ignore[assignment]
    threading.Thread(target=end_with_the_sandbox, daemon=True).start()

    from awslambdaric.__main__ import main

    main([sys.argv[0], handler])
