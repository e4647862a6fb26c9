"""What the tests of fetching share: origins with answers of the test's own, listeners that count, a span."""

import socket

ALLOWED = ("127.0.0.0/8",)


class Listener:
    """Listens, and never accepts: who connects stands in its queue."""

    def __init__(self, address="127.0.0.1"):
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(self._family)
        self._socket.bind((address, 0))
        self._socket.listen(100)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def connections(self):
        """How many there were since the last call."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self):
        self._socket.close()


class KeptSpan:
    """A span that remembers its children."""

    def __init__(self, name="item", **annotations):
        self.name = name
        self.annotations = annotations
        self.children = []
        self.error = None

    def child(self, name, **annotations):
        self.children.append(KeptSpan(name, **annotations))
        return self.children[-1]

    def annotate(self, **annotations):
        self.annotations.update(annotations)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.error = error
