"""`Distance`: starts the distance proxy as a process."""

from asyncstream.lab.server_process import COMMAND_SECONDS, ServerProcess


class Distance(ServerProcess):
    """A proxy to a local TCP server that delays its answers; a context manager.

    The proxy has its own process, so that other work does not delay its traffic.

    Args:
        port: the port of the server, on 127.0.0.1.
        round_trip: minimum seconds from a request to its answer, including the server's time.

    Attributes:
        port: the port of the proxy, on 127.0.0.1.

    Raises:
        LabError: the proxy did not start.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__("asyncstream.lab.distance", "--to", str(port), "--round-trip", str(round_trip))
        self.port: int = self.ready["port"]

    def round_trips(self) -> int:
        """Return how often a client has waited for an answer since the last `reset`."""
        return self._ask(b"count")

    def reset(self) -> None:
        """Reset the count."""
        self._ask(b"reset")

    def _ask(self, command: bytes) -> int:
        self.write(command)
        return int(self.next_line(COMMAND_SECONDS))
