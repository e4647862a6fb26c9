"""What files cost a worker: the model by which batches are packed and runs are estimated. Pure arithmetic.

A worker has three things that run out: slots, the network card, and CPU time. Files share them, so a batch
takes as long as the scarcest, if enough files are in flight at once, and never less than its longest stream.
This is a lower bound: if two are about as scarce, files wait for each other, and a simulated batch takes up
to a fifth longer (`tests/simulated_run.py`).
"""

from typing import Annotated

from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.locations import MOST_RANGES
from asyncstream.pipeline.plan import CHAINED_PART, MAX_PART, MIN_PART, part_length
from asyncstream.units import MB, MiB

# AWS Lambda developer guide, "Configure Lambda function memory": 1,769 MB are one vCPU.
MB_PER_VCPU = 1_769
GB = 1_000 * MB

# A file of unknown size counts as this. A full batch of such guesses takes a minute; it still ends within the
# 15 minutes of a usual function if its files have 13 times as many bytes.
GUESSED_BYTES = 8 * MiB

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


class Cost(Struct, frozen=True, array_like=True, gc=False):
    """What work takes of a worker. Costs of different work add up.

    Attributes:
        slots: seconds of one slot, if the others are idle: CPU for requests, waiting for first bytes, and
            moving bytes over one connection.
        card: seconds of the network card, in the direction that takes longer.
        cpu: seconds of one vCPU.
        longest: seconds of the longest stream, which other slots cannot shorten. A sum has the larger one.
    """

    slots: float = 0.0
    card: float = 0.0
    cpu: float = 0.0
    longest: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both."""
        return Cost(
            self.slots + other.slots,
            self.card + other.card,
            self.cpu + other.cpu,
            max(other.longest, self.longest),
        )


FREE = Cost()


class Speeds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast one worker is. The defaults are those of a deployed function with threads, over TLS.

    Attributes:
        memory_mb: MB of memory; CPU grows with it. Default: 512, as in the template.
        slots: streams at once (`max_concurrency`). Default: 10.
        stream_mb: MB/s of one connection. Default: 53, which the lab's model was fitted to, from Lambda.
        card_mb: MB/s of the network card, each way. Default: 74, from a public benchmark of 2026 (15.7 GB,
            three languages alike, 512 MB of memory and more).
        first_byte: seconds from a request to the first byte of its reply. Default: 0.025, the lab's model.
        cpu_file: CPU seconds of one GET and one PUT. Default: 0.003; `make bench` moves 329 files of 16 KiB
            per CPU second with threads.
        cpu_gb: CPU seconds of reading and writing a GB (10⁹ bytes). Default: 2.84, `make bench` over TLS
            with threads. Without TLS it is 0.78.
        cpu_entry: CPU seconds of a small entry of an archive: one PUT, and its share of the GETs. Default:
            0.0015; `make bench` unpacks 651 entries of 16 KiB per CPU second.
        cpu_inflate_gb: CPU seconds of inflating a GB, counted after inflating, beside `cpu_gb`. Default: 1.4;
            in `make bench` an unzip of a GB takes 2.25, and its copy 0.78.
        part_bytes: the most bytes of one request; a larger file is an upload of such parts, which move at
            once. Default: 512 MiB, as in transfers that end at a deadline.

    Raises:
        InputError: a part is outside S3's limits.
    """

    memory_mb: Annotated[int, Meta(ge=1)] = 512
    slots: Annotated[int, Meta(ge=1)] = 10
    stream_mb: Positive = 53.0
    card_mb: Positive = 74.0
    first_byte: NotNegative = 0.025
    cpu_file: NotNegative = 0.003
    cpu_gb: NotNegative = 2.84
    cpu_entry: NotNegative = 0.0015
    cpu_inflate_gb: NotNegative = 1.4
    part_bytes: int = CHAINED_PART

    def __post_init__(self) -> None:
        if not MIN_PART <= self.part_bytes <= MAX_PART:
            raise InputError(f"part_bytes={self.part_bytes} is not a part: S3 takes {MIN_PART} to {MAX_PART}")

    @property
    def vcpus(self) -> float:
        """The share of one vCPU that the worker has: at most 1, because Python runs on one at a time."""
        return min(self.memory_mb / MB_PER_VCPU, 1.0)

    @property
    def stream_byte(self) -> float:
        """Seconds of a byte over one connection that has card and CPU for itself."""
        return max(1 / (self.stream_mb * MB), self.cpu_gb / GB / self.vcpus)

    def seconds(self, cost: Cost) -> float:
        """Return how long one worker takes."""
        return max(self.shared_seconds(cost), cost.longest)

    def shared_seconds(self, cost: Cost) -> float:
        """Return how long the scarcest of slots, card and CPU is busy."""
        return max(cost.slots / self.slots, cost.card, cost.cpu / self.vcpus)

    def parts_of(self, size: int) -> int:
        """Return how many parts a file has; 1 if it is one GET and one PUT."""
        return 1 if size <= self.part_bytes else -(-size // part_length(size, self.part_bytes))

    def file_cost(self, size: int | None) -> Cost:
        """Return the cost of a file: one GET and one PUT, or those of its parts and two more requests.

        A slot waits for the first byte of the GET, and at the end for the reply of the PUT.

        Args:
            size: its bytes; None: unknown.
        """
        size = GUESSED_BYTES if size is None else size
        if size > self.part_bytes:
            return self._upload_cost(size)
        slots = 2 * self.first_byte + self.cpu_file / self.vcpus + size * self.stream_byte
        return Cost(slots, size / (self.card_mb * MB), self.cpu_file + size / GB * self.cpu_gb, slots)

    def _upload_cost(self, size: int) -> Cost:
        """Return the cost of a file in parts, with the requests that create and complete its upload."""
        parts = self.range_cost(size, self.parts_of(size))
        ends = 2 * self.first_byte + self.cpu_file / self.vcpus
        return Cost(parts.slots + ends, parts.card, parts.cpu + self.cpu_file, ends + parts.longest)

    def range_cost(self, length: int, parts: int) -> Cost:
        """Return the cost of parts of a giant file: a GET and an UploadPart each, all at once.

        Args:
            length: bytes of all parts.
            parts: their number.
        """
        waits, moving = 2 * self.first_byte + self.cpu_file / self.vcpus, length * self.stream_byte
        cpu = parts * self.cpu_file + length / GB * self.cpu_gb
        return Cost(parts * waits + moving, length / (self.card_mb * MB), cpu, waits + moving / parts)

    def archive_cost(self, files: int, decoded: int, stored: int | None = None, largest: int = 0) -> Cost:
        """Return the cost of unpacking entries of an archive: shared GETs, and a PUT each.

        The card reads `stored` bytes while it writes `decoded` ones. Inflating takes CPU if they differ.

        Args:
            files: the number of entries.
            decoded: their bytes after inflating.
            stored: their bytes in the archive; None: unknown, so they are taken for deflated.
            largest: bytes of the largest entry after inflating; 0: unknown, so all are taken for alike.
        """
        read = decoded if stored is None else stored
        deflated = stored is None or stored < decoded
        computing = files * self.cpu_entry + (decoded / GB * self.cpu_inflate_gb if deflated else 0.0)
        slots = 2 * files * self.first_byte + computing / self.vcpus + decoded * self.stream_byte
        cpu = computing + decoded / GB * self.cpu_gb
        share = max(largest / decoded if decoded else 0.0, 1 / max(files, 1))
        return Cost(slots, max(read, decoded) / (self.card_mb * MB), cpu, slots * share)

    def lines_cost(self, length: int, ranges: int) -> Cost:
        """Return the cost of ranges of lines: a GET to find each end, then a GET and a PUT.

        Args:
            length: bytes of all ranges.
            ranges: their number.
        """
        assert 0 < ranges <= MOST_RANGES  # noqa: S101 - a limit of `Lines`
        asking = 1.5 * self.cpu_file  # half of `cpu_file` is one request
        waits, moving = 3 * self.first_byte + asking / self.vcpus, length * self.stream_byte
        cpu = ranges * asking + length / GB * self.cpu_gb
        return Cost(ranges * waits + moving, length / (self.card_mb * MB), cpu, waits + moving / ranges)
