"""The S3 servers that the tests run against. None of them shares code with asyncstream's client side.

Each server has a small class: how it starts and stops, what it counts, and what it lacks.
"""

from servers.base import Bucket, Capability, S3Server
from servers.content import content
from servers.lab import LabServer
from servers.moto import MotoServer
from servers.rclone import RcloneServer

SERVERS: dict[str, type[S3Server]] = {kind.name: kind for kind in (LabServer, MotoServer, RcloneServer)}

__all__ = ["SERVERS", "Bucket", "Capability", "LabServer", "S3Server", "content"]
