"""The expected output of a transform for the files of a comparison."""

import os
from collections.abc import Iterator

from asyncstream import transforms
from asyncstream.lab.compare import workloads
from asyncstream.lab.compare.verification import Checksum
from asyncstream.lab.report.measurement import Files
from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from asyncstream.lab.s3.content import SyntheticContent
from asyncstream.transforms import Factory, Running

READ_SIZE = 1 << 18


class ExpectedOutput:
    """The output of a transform for the files of a workload, computed here once for each file.

    Args:
        name: the name of the transform.

    Raises:
        ConfigError: no transform has this name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._factory = transforms.factory(name)
        self._expected: dict[Files, dict[str, Checksum]] = {}

    def expected(self, workload: Files, prefix: str) -> dict[str, Checksum]:
        """Return the checksums of the expected results, by the last part of their keys.

        Raises:
            TransformError: the transform does not accept these files.
        """
        if workload not in self._expected:
            self._expected[workload] = {
                name: _checksum(self._factory, SyntheticContent(prefix + name, workload.size))
                for name in workloads.names(workload)
            }
        return self._expected[workload]


def _checksum(factory: Factory, content: SyntheticContent) -> Checksum:
    running = Running(factory)
    size = crc = 0
    for piece in _pieces(running, content):
        size, crc = size + len(piece), crc64nvme(memoryview(piece), crc)
    return Checksum(size, encoded_crc64nvme(crc))


def _pieces(running: Running, content: SyntheticContent) -> Iterator[bytes | memoryview]:
    for part in content.slices(0, content.size):
        for start in range(0, part.length, READ_SIZE):
            length = min(READ_SIZE, part.length - start)
            yield from running.feed(os.pread(part.descriptor, length, part.offset + start))
    yield from running.finish()
