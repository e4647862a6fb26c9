"""The ways that are compared: which handler, with which settings; chosen in `settings.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncstream.errors import InputError
from asyncstream.report.measurement import Way

_ROOT = Path(__file__).parents[3]
_HANDLERS = _ROOT / "handlers"
_REFERENCE = Path(__file__).with_name("reference.py")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way: a handler's file and function, and what its event's `config` says."""

    way: Way
    file: Path
    function: str = "handler"
    config: Mapping[str, Any] = field(default_factory=dict)


def _ours(name: str, label: str, file: str, *, multipart: bool) -> Variant:
    # Said in the event although the handlers mean the same: an ASYNCSTREAM_MULTIPART in the user's
    # environment must not make rows lie.
    return Variant(Way(name, label), _HANDLERS / file, config={"multipart": multipart})


VARIANTS = (
    _ours("sequential", "sequential", "sequential.py", multipart=False),
    _ours("threads", "threads", "threads.py", multipart=False),
    _ours("threads-multipart", "threads + multipart", "threads_multipart.py", multipart=True),
    # Not one of the four functions: so that the engine's share and multipart's can be told apart.
    _ours("asyncio", "asyncio", "asyncio_multipart.py", multipart=False),
    _ours("asyncio-multipart", "asyncio + multipart", "asyncio_multipart.py", multipart=True),
    Variant(Way("boto3", "boto3 one by one", reference=True), _REFERENCE, "one_by_one"),
    Variant(Way("boto3-pool", "boto3 thread pool", reference=True), _REFERENCE, "thread_pool"),
)


def chosen(names: Sequence[str]) -> list[Variant]:
    """The variants of these names, in the order given.

    Raises:
        InputError: there is no such variant, or one is named twice.
    """
    known = {variant.way.name: variant for variant in VARIANTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no variant {unknown[0]!r}: choose among {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InputError(f"a variant is named twice in {','.join(names)}")
    return [known[name] for name in names]
