"""X-Ray's daemon and API as a process.

It prints one JSON line when it is ready, and then one for each command on standard input. It exits when
standard input ends.
"""

import json
import signal
import sys

import boto3
import msgspec
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from asyncstream.lab.xray.receiver import Receiver

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "lab", "aws_secret_access_key": "lab"}


def main() -> None:
    """Serve until standard input ends, which is when the parent process closes it or exits."""
    # Ctrl-C goes to the whole process group, and the parent must end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint_url = f"http://{host}:{port}"
    receiver = Receiver(boto3.client("xray", endpoint_url=endpoint_url, **CREDENTIALS))
    say(json.dumps({"endpoint_url": endpoint_url, "daemon_address": f"127.0.0.1:{receiver.port}"}).encode())
    commands = {"counts": receiver.counts, "settle": receiver.settle}
    for line in sys.stdin:
        try:
            say(msgspec.json.encode(commands[line.strip()]()))
        except TimeoutError as error:
            say(msgspec.json.encode({"error": str(error)}))


def say(line: bytes) -> None:
    """Write one line for the parent."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
