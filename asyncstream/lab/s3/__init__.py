"""An S3 server for measurements: it uses little CPU, verifies every byte, and is slow on request.

`LabS3` starts it in its own process. It keeps uploaded objects, or only their size and CRC64NVME.
"""

from asyncstream.lab.s3.client import LabS3, ObjectChecksum
from asyncstream.lab.s3.faults import Fault
from asyncstream.lab.s3.model import NetworkModel

__all__ = ["Fault", "LabS3", "NetworkModel", "ObjectChecksum"]
