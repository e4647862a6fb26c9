"""All ways to copy, unpack and pack, with their labels and the Python that runs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import archive_peers, archives, peers

if TYPE_CHECKING:
    from tests.benchmarks.peers import Peer

TOP = Path(__file__).parents[2]

PEERS: dict[str, Peer] = {**peers.PEERS, **archives.PEERS, **archive_peers.PEERS}
LABELS = {**peers.LABELS, **archives.LABELS, **archive_peers.LABELS}
# Environments of `.venv` with packages that the library's own environment does not have.
_ENVIRONMENTS = {
    **dict.fromkeys(peers.OLDER_SDKS.values(), "aioboto3"),
    **dict.fromkeys(archive_peers.PEERS, "peers"),
}


def python_of(peer: str) -> str:
    """Return the Python that has a peer's packages."""
    environment = _ENVIRONMENTS.get(peer)
    return sys.executable if environment is None else str(TOP / ".venv" / environment / "bin" / "python")
