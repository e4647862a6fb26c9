"""The distance proxy as a process.

It prints one JSON line when it is ready, and then the number of round trips for each command on standard
input. It exits when standard input ends.
"""

import argparse
import json
import signal
import sys

from asyncstream.lab.distance.proxy import Proxy


def main() -> None:
    """Serve until standard input ends, which is when the parent process closes it or exits."""
    parser = argparse.ArgumentParser(prog="python -m asyncstream.lab.distance", description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="port of the server on 127.0.0.1")
    parser.add_argument("--round-trip", type=float, required=True, help="minimum seconds per round trip")
    options = parser.parse_args()
    # Ctrl-C goes to the whole process group, and the parent must end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
