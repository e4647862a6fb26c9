"""The lab's web as a process.

It prints one JSON line when it is ready, and then one for each command on standard input. It exits when
standard input ends.
"""

import argparse
import json
import signal
import sys

from asyncstream.lab.web.model import WebModel
from asyncstream.lab.web.server import Origin


def main() -> None:
    """Serve until standard input ends, which is when the parent process closes it or exits."""
    options = _options()
    # Ctrl-C goes to the whole process group, and the parent must end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    model = WebModel(**json.loads(options.model))
    with Origin(model.answer, options.hosts) as origin:
        say({"origins": origin.urls})
        for line in sys.stdin:
            if line.strip() == "reset":
                origin.reset()
            say(origin.counts())


def say(document: dict[str, object]) -> None:
    """Write one line for the parent."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asyncstream.lab.web", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1, help="number of hosts: 127.0.0.1, 127.0.0.2, ...")
    parser.add_argument("--model", default="{}", help="fields of WebModel, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
