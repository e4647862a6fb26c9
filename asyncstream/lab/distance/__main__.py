"""The distance as a process.

Prints one JSON line when it is ready, then the count of round trips for every command on standard input, and
ends with it.
"""

import argparse
import json
import signal
import sys

from asyncstream.lab.distance.proxy import Proxy


def main() -> None:
    """Pass on until the parent process is gone, or says so."""
    parser = argparse.ArgumentParser(prog="python -m asyncstream.lab.distance", description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="port of the server on 127.0.0.1")
    parser.add_argument("--round-trip", type=float, required=True, help="seconds, at the least")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent ends first
    proxy = Proxy(options.to, options.round_trip)
    _say(json.dumps({"port": proxy.port}))
    for line in sys.stdin:
        if line.strip() == "reset":
            proxy.reset()
        _say(str(proxy.count()))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
