"""The S3 servers that the tests run against. None of them shares code with asyncstream's client side.

Each server has a small class: how it starts and stops, what it counts, and what it lacks.
"""

from .base import Bucket, Capability, S3Server
from .content import content
from .lab import LabServer
from .moto import MotoServer
from .rclone import RcloneServer

SERVERS: dict[str, type[S3Server]] = {kind.name: kind for kind in (LabServer, MotoServer, RcloneServer)}

__all__ = ["SERVERS", "Bucket", "Capability", "LabServer", "S3Server", "content"]
