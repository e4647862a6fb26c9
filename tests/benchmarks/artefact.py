"""The artefact of `deploy/`: its size, and the CPU time of a cold import of each handler.

The targets that `sam build` runs build the function and its layer for this machine. Each import is a fresh
process of `.venv/runtime`, which has Lambda's runtime client and nothing else. The measured time is what
Lambda's init does for the handler: it starts when the runtime client is loaded and ends when the handler's
clients exist, which needs no network.
"""

from __future__ import annotations

import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from tests.benchmarks.measure import BenchmarkError, rotated
from tests.benchmarks.ways import TOP

if TYPE_CHECKING:
    from rich.console import Console

NAME = "artefact"
RUNTIME = TOP / ".venv" / "runtime" / "bin" / "python"
# An import takes half a second and a copy takes many seconds, so imports are measured more often.
IMPORTS_A_ROUND = 3
MAX_SECONDS = 300  # limit of one command
MB = 1_000_000

MAX_BYTES = 45 * MB
MAX_RATIO = 1.15

# For each SDK, the shortest code that ends with a client.
_BOTO3 = """
import boto3
client = boto3.client("s3")
"""
_AIOBOTO3 = """
import asyncio
import aioboto3
async def enter():
    return await aioboto3.Session().client("s3").__aenter__()
runner = asyncio.Runner()
client = runner.run(enter())
"""
_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"
_MEASURING = """
import os, time
import awslambdaric.__main__
before = time.process_time()
{statements}
os.write(1, repr(time.process_time() - before).encode())
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """One cold import.

    Attributes:
        name: its name in the JSON file.
        label: its label in the table.
        statements: the code that is measured.
        reference: the SDK's way that it is compared with; None for the references themselves.
        bound: the promised limit of the ratio to the reference's time, if there is one.
        traced: whether the function has active tracing, so that the X-Ray SDK is loaded with the clients.
    """

    name: str
    label: str
    statements: str
    reference: str | None = None
    bound: float | None = None
    traced: bool = False


def _handler(name: str, reference: str, *, traced: bool) -> Way:
    return Way(
        f"{name}_traced" if traced else name,
        f"handlers.{name}" + (", traced" if traced else ""),
        f"import handlers.{name}",
        reference,
        None if traced else MAX_RATIO,
        traced,
    )


HANDLERS = {
    "sequential": "boto3",
    "threads": "boto3",
    "threads_multipart": "boto3",
    "asyncio_multipart": "aioboto3",
}
WAYS = (
    Way("boto3", "boto3 and its client", _BOTO3),
    Way("aioboto3", "aioboto3 and its client", _AIOBOTO3),
    *(_handler(name, reference, traced=False) for name, reference in HANDLERS.items()),
    *(_handler(name, reference, traced=True) for name, reference in HANDLERS.items()),
    Way("asyncstream", "asyncstream, no client made", "import asyncstream"),
)


@dataclass(frozen=True, slots=True)
class Artefact:
    """The built function and layer."""

    function: Path
    layer: Path

    @property
    def path(self) -> str:
        """Python's path, as Lambda sets it."""
        return f"{self.function}:{self.layer / 'python'}"

    def copy_without_bytecode(self, directory: Path) -> Artefact:
        """Return a copy without the bytecode that compiling added."""
        copy = Artefact(directory / "function", directory / "layer")
        for source, target in ((self.function, copy.function), (self.layer, copy.layer)):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return copy


@dataclass(frozen=True, slots=True)
class Results:
    """Sizes in bytes, and the CPU seconds of each way, one value per round in the order of the rounds."""

    python: str
    function_bytes: int
    layer_bytes: int
    compiled: dict[str, list[float]]
    source_only: dict[str, list[float]]

    @property
    def total_bytes(self) -> int:
        return self.function_bytes + self.layer_bytes

    def ratio(self, way: Way) -> float | None:
        """Return the median of the rounds' ratios, see report.py; None for a way without a reference."""
        if way.reference is None:
            return None
        pairs = zip(self.compiled[way.name], self.compiled[way.reference], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def run(rounds: int, console: Console) -> Results:
    """Build the artefact and measure the imports of its handlers.

    Raises:
        BenchmarkError: the runtime is missing, or a build or an import failed.
    """
    if not RUNTIME.is_file():
        raise BenchmarkError("Lambda's runtime client is missing. Run `make .venv/runtime.stamp`.")
    rounds *= IMPORTS_A_ROUND
    with tempfile.TemporaryDirectory() as directory, console.status("building the artefact") as status:
        python = _output([RUNTIME, "-c", _VERSION]).strip()
        compiled = _built(Path(directory, "compiled"), python)
        source_only = compiled.copy_without_bytecode(Path(directory, "source_only"))
        results = Results(
            python,
            _directory_bytes(compiled.function),
            _directory_bytes(compiled.layer),
            {way.name: [] for way in WAYS},
            {way.name: [] for way in WAYS},
        )
        for number in range(rounds):
            for way in rotated(WAYS, number):
                status.update(f"cold imports: round {number + 1} of {rounds}, {way.label}")
                results.compiled[way.name].append(_imported(way, compiled))
                results.source_only[way.name].append(_imported(way, source_only))
    return results


def show(results: Results, console: Console) -> None:
    """Print the sizes, the table, and whether the targets are met."""
    title = f"cold import at Python {results.python}: CPU ms, less is better"
    table = Table(title=title, box=box.SIMPLE)
    for heading in ("way", "median", "range", "x SDK and client", "without bytecode"):
        table.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for way in WAYS:
        found, ratio = results.compiled[way.name], results.ratio(way)
        table.add_row(
            way.label,
            _milliseconds(statistics.median(found)),
            f"{_milliseconds(min(found))}-{_milliseconds(max(found))}",
            "" if ratio is None else f"{ratio:.2f}",
            _milliseconds(statistics.median(results.source_only[way.name])),
            style="" if way.bound is None else "bold",
        )
    console.print(table)
    for way in WAYS:
        ratio = results.ratio(way)
        if ratio is not None and way.bound is not None:
            verdict = _verdict(way.bound, met=ratio <= way.bound)
            console.print(f"{way.label}: {ratio:.2f} x {way.reference} and its client {verdict}")
    size = f"{results.total_bytes / MB:.1f} MB unzipped, {results.layer_bytes / MB:.1f} of it the layer"
    verdict = _verdict(f"{MAX_BYTES / MB:g} MB", met=results.total_bytes <= MAX_BYTES)
    console.print(f"function and layer: {size} {verdict}")


def document(results: Results) -> dict[str, Any]:
    """Return all results for the JSON file; times are in seconds."""
    return {
        "python": results.python,
        "function_bytes": results.function_bytes,
        "layer_bytes": results.layer_bytes,
        "max_bytes": MAX_BYTES,
        "met": results.total_bytes <= MAX_BYTES,
        "ways": {way.name: _way_document(way, results) for way in WAYS},
    }


def _way_document(way: Way, results: Results) -> dict[str, Any]:
    ratio = results.ratio(way)
    return {
        "label": way.label,
        "reference": way.reference,
        "ratio": ratio,
        "bound": way.bound,
        "met": None if ratio is None or way.bound is None else ratio <= way.bound,
        "median": statistics.median(results.compiled[way.name]),
        "median_without_bytecode": statistics.median(results.source_only[way.name]),
        "rounds": results.compiled[way.name],
        "rounds_without_bytecode": results.source_only[way.name],
    }


def _built(directory: Path, python: str) -> Artefact:
    """Build one of the four functions, which all contain the same code."""
    artefact = Artefact(directory / "function", directory / "layer")
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    targets = {"build-SequentialFunction": artefact.function, "build-DependencyLayer": artefact.layer}
    for target, place in targets.items():
        place.mkdir(parents=True)
        _output(
            [
                *("make", "--silent", "--makefile", f"deploy/python{python}/{machine}/Makefile", target),
                *(f"ARTIFACTS_DIR={place}", f"PYTHON={sys.executable}"),
                *(f"PYTHON_VERSION={python}", f"RUNTIME_PYTHON={RUNTIME}"),
            ]
        )
    return artefact


def _directory_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _imported(way: Way, artefact: Artefact) -> float:
    """Return the CPU seconds of one import, in a process without this process's variables."""
    environment = {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "LAMBDA_TASK_ROOT": str(artefact.function),
        "PYTHONPATH": artefact.path,
    }
    if way.traced:
        environment["AWS_XRAY_DAEMON_ADDRESS"] = "127.0.0.1:2000"  # loads the SDK; nothing is sent
    code = _MEASURING.format(statements=way.statements)
    # Without -P, Python would import the handlers from the current directory.
    return float(_output([RUNTIME, "-P", "-B", "-c", code], environment))


def _output(command: list[str | Path], environment: dict[str, str] | None = None) -> str:
    """Return the output of a command, which by default sees this process's variables."""
    shown = " ".join(map(str, command[:4]))
    try:
        return subprocess.run(
            command,
            cwd=TOP,
            env=environment,
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{shown} did not end within {MAX_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"{shown} ended with {error.returncode}:\n{error.stderr[-2000:]}") from None


def _verdict(target: object, *, met: bool) -> str:
    return f"(target {target}: {'[green]met[/green]' if met else '[red]missed[/red]'})"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
