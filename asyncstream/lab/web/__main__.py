"""The lab's web as a process.

Prints one JSON line when it is ready, then one for every command on standard input, and ends with it.
"""

import argparse
import json
import signal
import sys

from asyncstream.lab.web.model import WebModel
from asyncstream.lab.web.server import Origin


def main() -> None:
    """Serve until the parent process is gone, or says so."""
    options = _options()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent ends first
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
    parser.add_argument("--hosts", type=int, default=1, help="how many: 127.0.0.1, 127.0.0.2, ...")
    parser.add_argument("--model", default="{}", help="fields of WebModel, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
