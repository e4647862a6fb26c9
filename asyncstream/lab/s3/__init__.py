"""An S3 endpoint for measuring: cheap enough to disappear, exact to the byte, slow on request.

`LabS3` starts it as a process of its own. What is uploaded can be kept, or reduced to its size and CRC64NVME.
"""

from asyncstream.lab.s3.client import LabS3, ObjectChecksum
from asyncstream.lab.s3.faults import Fault
from asyncstream.lab.s3.model import NetworkModel

__all__ = ["Fault", "LabS3", "NetworkModel", "ObjectChecksum"]
