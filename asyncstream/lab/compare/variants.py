"""The variants of a comparison: their handlers and settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncstream.errors import InputError
from asyncstream.lab.report.measurement import Way

# The directory that contains the package: a checkout or site-packages.
_ROOT = Path(__file__).parents[3]
_OWN = "asyncstream.lab.compare.own_functions"
_REFERENCE = Path(__file__).with_name("reference")


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant: a function's code and handler, and the `config` of its event.

    `output` is the function's name in the outputs of `deploy/template.yaml`; None: it is not deployed.
    `more_code` has further directories with its modules.
    """

    way: Way
    code: Path
    handler: str
    config: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    more_code: Sequence[Path] = ()


def _ours(name: str, label: str, engine: str, output: str, *, multipart: bool) -> Variant:
    # These repeat the handlers' defaults, so that ASYNCSTREAM_MULTIPART or ASYNCSTREAM_TRANSFORM in the
    # user's environment do not falsify the results.
    config = {"multipart": multipart, "transform": None}
    return Variant(Way(name, label), _ROOT, f"{_OWN}.copy_{engine}", config, output)


def _gathering(engine: str) -> Variant:
    return Variant(Way(engine, engine), _ROOT, f"{_OWN}.gather_{engine}", more_code=(_REFERENCE,))


def _theirs(name: str, label: str, handler: str) -> Variant:
    return Variant(Way(name, label, reference=True), _REFERENCE, handler)


# The variants that copy files.
VARIANTS = (
    _ours("sequential", "sequential", "sequential", "SequentialFunctionArn", multipart=False),
    _ours("threads", "threads", "threads", "ThreadsFunctionArn", multipart=False),
    _ours(
        "threads-multipart", "threads + multipart", "threads", "ThreadsMultipartFunctionArn", multipart=True
    ),
    # Not one of the four functions. It shows how much is due to the engine and how much to multipart.
    _ours("asyncio", "asyncio", "asyncio", "AsyncioMultipartFunctionArn", multipart=False),
    _ours(
        "asyncio-multipart", "asyncio + multipart", "asyncio", "AsyncioMultipartFunctionArn", multipart=True
    ),
    _theirs("boto3", "boto3 one by one", "counted.one_by_one"),
    _theirs("boto3-pool", "boto3 thread pool", "counted.thread_pool"),
)

# The variants that gather pages.
GATHERING = (
    _gathering("sequential"),
    _gathering("threads"),
    _gathering("asyncio"),
    _theirs("urllib", "urllib one by one", "gathering.one_by_one"),
    _theirs("urllib-pool", "urllib thread pool", "gathering.thread_pool"),
)


def repeated(variants: Sequence[Variant]) -> Variant:
    """Return the variant to measure twice to see the noise: a concurrent one, because these vary most."""
    return next((v for v in variants if not v.way.reference and v.way.name != "sequential"), variants[0])


def deployed() -> list[Variant]:
    """Return the variants that have functions in `deploy/template.yaml`."""
    return [variant for variant in VARIANTS if variant.output is not None]


def transforming() -> list[Variant]:
    """Return the variants that differ under a transform, which makes each file one stream."""
    return [variant for variant in VARIANTS if variant.config.get("multipart") is False]


def chosen(text: str, among: Sequence[Variant]) -> list[Variant]:
    """Return the variants named in `text`, separated by commas, in the order given.

    Raises:
        InputError: a variant does not exist, or is named twice.
    """
    names = text.split(",")
    known = {variant.way.name: variant for variant in among}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"there is no variant {unknown[0]!r}: choose from {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InputError(f"--variants {text} names a variant twice: name each one once")
    return [known[name] for name in names]
