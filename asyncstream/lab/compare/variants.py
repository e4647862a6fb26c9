"""The ways that are compared: which handler, with which settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncstream.errors import InputError
from asyncstream.lab.report.measurement import Way

# Where the package itself is: a checkout, or what it is installed in.
_ROOT = Path(__file__).parents[3]
_OWN = "asyncstream.lab.compare.own_functions"
_REFERENCE = Path(__file__).with_name("reference")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way: a function's code and handler, and what its event's `config` says.

    `output` names the function in the outputs of `deploy/template.yaml`; None: it is not deployed.
    `more_code` are directories to find modules in beside its own.
    """

    way: Way
    code: Path
    handler: str
    config: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    more_code: Sequence[Path] = ()


def _ours(name: str, label: str, engine: str, output: str, *, multipart: bool) -> Variant:
    # Said in the event although the deployed handlers mean the same: an ASYNCSTREAM_MULTIPART in the user's
    # environment, or a TRANSFORM, must not make rows lie.
    config = {"multipart": multipart, "transform": None}
    return Variant(Way(name, label), _ROOT, f"{_OWN}.copy_{engine}", config, output)


def _gathering(engine: str) -> Variant:
    return Variant(Way(engine, engine), _ROOT, f"{_OWN}.gather_{engine}", more_code=(_REFERENCE,))


def _theirs(name: str, label: str, handler: str) -> Variant:
    return Variant(Way(name, label, reference=True), _REFERENCE, handler)


# Those that copy files.
VARIANTS = (
    _ours("sequential", "sequential", "sequential", "SequentialFunctionArn", multipart=False),
    _ours("threads", "threads", "threads", "ThreadsFunctionArn", multipart=False),
    _ours(
        "threads-multipart", "threads + multipart", "threads", "ThreadsMultipartFunctionArn", multipart=True
    ),
    # Not one of the four functions: so that the engine's share and multipart's can be told apart.
    _ours("asyncio", "asyncio", "asyncio", "AsyncioMultipartFunctionArn", multipart=False),
    _ours(
        "asyncio-multipart", "asyncio + multipart", "asyncio", "AsyncioMultipartFunctionArn", multipart=True
    ),
    _theirs("boto3", "boto3 one by one", "counted.one_by_one"),
    _theirs("boto3-pool", "boto3 thread pool", "counted.thread_pool"),
)

# Those that gather pages.
GATHERING = (
    _gathering("sequential"),
    _gathering("threads"),
    _gathering("asyncio"),
    _theirs("urllib", "urllib one by one", "gathering.one_by_one"),
    _theirs("urllib-pool", "urllib thread pool", "gathering.thread_pool"),
)


def repeated(variants: Sequence[Variant]) -> Variant:
    """The variant that is measured twice, to see how far apart one thing comes out: one that has files in
    flight together, as those vary most.
    """
    return next((v for v in variants if not v.way.reference and v.way.name != "sequential"), variants[0])


def deployed() -> list[Variant]:
    """Those that a stack of `deploy/template.yaml` has functions for."""
    return [variant for variant in VARIANTS if variant.output is not None]


def transforming() -> list[Variant]:
    """Those that come out differently where files are changed on their way: each is then one stream."""
    return [variant for variant in VARIANTS if variant.config.get("multipart") is False]


def chosen(text: str, among: Sequence[Variant]) -> list[Variant]:
    """The variants named, with commas between, in the order given.

    Raises:
        InputError: there is no such variant, or one is named twice.
    """
    names = text.split(",")
    known = {variant.way.name: variant for variant in among}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no variant {unknown[0]!r}: choose among {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InputError(f"a variant is named twice in {text}")
    return [known[name] for name in names]
