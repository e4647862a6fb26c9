"""`Distance`: starts the proxy of this package as a process."""

from asyncstream.lab.server_process import COMMAND_SECONDS, ServerProcess


class Distance(ServerProcess):
    """A way to a TCP server of this machine on which nothing is answered sooner than after some time.

    A context manager. In a process of its own, so that nobody else's work delays what passes.

    Args:
        port: of the server, on 127.0.0.1.
        round_trip: seconds from a request to its answer, at the least; what the server takes is within.

    Attributes:
        port: where to connect instead, on 127.0.0.1.

    Raises:
        LabError: it did not start.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__("asyncstream.lab.distance", "--to", str(port), "--round-trip", str(round_trip))
        self.port: int = self.ready["port"]

    def round_trips(self) -> int:
        """How often a client has waited for an answer, since the last `reset`."""
        return self._ask(b"count")

    def reset(self) -> None:
        """Count anew."""
        self._ask(b"reset")

    def _ask(self, command: bytes) -> int:
        self.write(command)
        return int(self.next_line(COMMAND_SECONDS))
