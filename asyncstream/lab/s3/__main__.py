"""The lab S3 as a process. It prints one JSON line when it is ready, and exits when standard input ends."""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from pathlib import Path

from asyncstream.lab.s3.control import PREFIX
from asyncstream.lab.s3.model import NetworkModel
from asyncstream.lab.s3.server import Server, self_signed


def main() -> None:
    """Serve until standard input ends, which is when the parent process closes it or exits."""
    options = _options()
    # Ctrl-C goes to the whole process group, and the parent must end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))  # each connection uses one
    with tempfile.TemporaryDirectory(prefix="lab-s3-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        context, bundle = self_signed(directory) if options.tls else (None, None)
        server = Server(
            directory, NetworkModel.parse(options.model, options.seed), tls=context, log_size=options.log_size
        )
        url = f"{'https' if context else 'http'}://127.0.0.1:{server.listen(options.port)}"
        ready = {
            "endpoint_url": url,
            "control_url": url + PREFIX,
            "ca_bundle": str(bundle) if bundle else None,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        while sys.stdin.buffer.read(1024):
            continue


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asyncstream.lab.s3", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--tls", action="store_true", help="serve https, with a new certificate")
    parser.add_argument(
        "--model",
        default="off",
        help='network model such as "53/90/25": MB/s per connection, MB/s in total, ms',
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the model's jitter")
    parser.add_argument("--log-size", type=int, default=100_000, help="maximum number of requests in the log")
    return parser.parse_args()


if __name__ == "__main__":
    main()
