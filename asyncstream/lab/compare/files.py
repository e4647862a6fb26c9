"""The harness of variants that copy files with any S3 (first article)."""

from collections.abc import Mapping
from typing import Any

from asyncstream.lab.compare import verification, workloads
from asyncstream.lab.compare.expected_output import ExpectedOutput
from asyncstream.lab.compare.harness import ServerCounts, Turn
from asyncstream.lab.compare.testbed import Testbed
from asyncstream.lab.report.measurement import Files, Workload


class CopyFiles:
    """The `Harness` of variants that copy files.

    Args:
        testbed: the S3, which the caller opens and closes.
        concurrency: files or parts in flight, for concurrent variants.
        output: the expected output of a transform. None: the files are copied.
    """

    def __init__(self, testbed: Testbed, concurrency: int, output: ExpectedOutput | None = None) -> None:
        self._testbed = testbed
        self._concurrency = concurrency
        self._output = output

    def environment(self) -> Mapping[str, str]:
        """See `Harness`."""
        return self._testbed.environment()

    def prepare(self, workload: Workload) -> None:
        """See `Harness`.

        Raises:
            TransformError: the transform does not accept these files.
        """
        files, prefix = _files(workload), source_prefix(workload)
        self._testbed.put_sources(prefix, workloads.names(files), files.size)
        if self._output is not None:
            self._output.expected(files, prefix)

    def begin(self, turn: Turn) -> Mapping[str, Any]:
        """See `Harness`."""
        config = {"max_concurrency": self._concurrency, **turn.variant.config}
        if self._output is not None:
            config["transform"] = self._output.name
        self._testbed.start_run(_results(turn), turn.round)
        return workloads.event(
            _files(turn.workload),
            self._testbed.source(source_prefix(turn.workload)),
            self._testbed.destination(_results(turn)),
            config,
        )

    def end(self, turn: Turn) -> ServerCounts:
        """See `Harness`."""
        return self._testbed.end_run()

    def difference(self, turn: Turn) -> str | None:
        """See `Harness`."""
        source = source_prefix(turn.workload)
        expected = (
            self._testbed.checksum_sources(source)
            if self._output is None
            else self._output.expected(_files(turn.workload), source)
        )
        return verification.wrong_bytes(expected, self._testbed.checksum_results(_results(turn)))

    def discard(self, turn: Turn) -> int:
        """See `Harness`."""
        return self._testbed.discard(_results(turn))


def source_prefix(workload: Workload) -> str:
    """Return the prefix of a workload's sources."""
    files = _files(workload)
    return f"{files.files}x{files.size}/"


def _results(turn: Turn) -> str:
    size = f"{turn.memory_mb or 'all'}{'-again' if turn.repeat else ''}"
    return f"round-{turn.round}/{turn.variant.way.name}/{size}/{source_prefix(turn.workload)}"


def _files(workload: Workload) -> Files:
    if not isinstance(workload, Files):
        raise TypeError(f"{workload} is not a workload of files")
    return workload
