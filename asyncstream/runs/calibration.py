"""Set the speeds of the model by the measurements of `asyncstream compare --json`. Does no I/O."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from asyncstream.errors import InputError
from asyncstream.runs.costs import GB, MB_PER_VCPU, Speeds

FORMAT = "asyncstream-compare"
VERSION = 3

# A card is measured by files of this size and more, whose waits are short, and if the CPU had time left.
CARD_BYTES = 50_000_000
SPARE_CPU = 0.8


class _Way(Struct):
    name: str


class _Figures(Struct):
    seconds: float
    cpu_seconds: float
    rate: float


class _Row(Struct):
    way: _Way
    memory_mb: int | None
    figures: _Figures | None


class _Workload(Struct):
    files: int | None = None
    size: int | None = None


class _Section(Struct):
    workload: _Workload
    rows: Sequence[_Row]


class _Network(Struct):
    model: str | None = None


class _Document(Struct):
    format: str
    version: int
    concurrency: int
    network: _Network
    sections: Sequence[_Section]


class _Measured(Struct, frozen=True):
    """CPU seconds of one workload, and the rates of the card that it showed, in MB/s."""

    files: int
    size: int
    cpu_seconds: float
    rates: Sequence[float]


def calibrate(document: Mapping[str, Any], way: str, speeds: Speeds) -> Speeds:
    """Return the speeds that a comparison has measured.

    CPU seconds come from all sizes of files. A single size does not tell apart what a file costs and what its
    bytes cost: both change in the same proportion. The rate of the card comes from deployed functions, and
    stays if the CPU was the limit. The network of a comparison in the lab is that of the lab's model.

    Args:
        document: what `compare --json` has written, decoded.
        way: the name of the variant that runs, such as "threads".
        speeds: those that stay if the comparison does not tell.

    Raises:
        InputError: it is not such a document, or it did not measure this variant with files.
    """
    read = _read(document)
    measured = [each for section in read.sections for each in _measured(section, way)]
    if not measured:
        raise InputError(
            f"the comparison has no figures of {way!r:.100} with files: choose a way that it ran"
        )
    cpu_file, cpu_gb = _cpu(measured, speeds)
    rates = [rate for each in measured for rate in each.rates] if read.network.model is None else []
    return replace(
        speeds,
        slots=read.concurrency,
        cpu_file=cpu_file,
        cpu_gb=cpu_gb,
        card_mb=max(rates, default=speeds.card_mb),
    )


def _read(document: Mapping[str, Any]) -> _Document:
    try:
        read = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise InputError(f"this is not what `asyncstream compare --json` writes: {error}") from None
    if (read.format, read.version) != (FORMAT, VERSION):
        raise InputError(
            f"the comparison has the format {read.format!r:.100} {read.version}, and this version reads "
            f"{FORMAT!r} {VERSION}: compare again"
        )
    return read


def _measured(section: _Section, way: str) -> list[_Measured]:
    files, size = section.workload.files, section.workload.size
    rows = [(row.memory_mb, row.figures) for row in section.rows if row.way.name == way and row.figures]
    if not rows or files is None or size is None:
        return []
    rates = [
        figures.rate
        for memory_mb, figures in rows
        if memory_mb is not None
        and size >= CARD_BYTES
        and figures.cpu_seconds < SPARE_CPU * figures.seconds * min(memory_mb / MB_PER_VCPU, 1.0)
    ]
    return [_Measured(files, size, median(figures.cpu_seconds for _, figures in rows), rates)]


def _cpu(measured: Sequence[_Measured], speeds: Speeds) -> tuple[float, float]:
    """Return CPU seconds of a file and of a GB that fit best, by relative errors."""
    known = [each for each in measured if each.cpu_seconds > 0]
    if not known:
        return speeds.cpu_file, speeds.cpu_gb
    terms = [
        (each.files / each.cpu_seconds, each.files * each.size / GB / each.cpu_seconds) for each in known
    ]
    if len({each.size for each in known}) > 1:
        aa, bb = sum(a * a for a, _ in terms), sum(b * b for _, b in terms)
        ab, a1, b1 = sum(a * b for a, b in terms), sum(a for a, _ in terms), sum(b for _, b in terms)
        # Normal equations of a * cpu_file + b * cpu_gb = 1.
        area = aa * bb - ab * ab
        cpu_file, cpu_gb = (a1 * bb - b1 * ab) / area, (b1 * aa - a1 * ab) / area
        if cpu_file >= 0 and cpu_gb >= 0:
            return cpu_file, cpu_gb
    expected = [a * speeds.cpu_file + b * speeds.cpu_gb for a, b in terms]
    factor = sum(expected) / sum(each * each for each in expected)
    return speeds.cpu_file * factor, speeds.cpu_gb * factor
