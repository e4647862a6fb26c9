"""The arguments that all commands that transfer files have: engine, limits, both ends."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

from asyncstream import transforms
from asyncstream.cli.ends import add_ends
from asyncstream.engines import ENGINES
from asyncstream.errors import InputError
from asyncstream.pipeline.session import DEFAULT_ENGINE
from asyncstream.units import parse_size

# The settings of `TransferConfig` that `add_limits` has options for.
LIMITS = ("max_concurrency", "memory_limit")


def add_transfer(parser: argparse.ArgumentParser) -> None:
    """Add the options of `TransferConfig`, and those of both ends."""
    add = parser.add_argument
    add("--dry-run", action="store_true", help="only list the files to copy: source, destination, bytes")
    add("--engine", choices=ENGINES, default=DEFAULT_ENGINE, help="default: %(default)s")
    add_limits(parser)
    add("--part-size", type=_size_or_auto, metavar="SIZE", help='5MiB to 5GiB, or "auto", the default')
    add(
        "--multipart",
        action=argparse.BooleanOptionalAction,
        help="copy the parts of a file concurrently, instead of each file as one stream",
    )
    add(
        "--if-exists",
        choices=("overwrite", "skip", "fail"),
        help="if the destination exists: overwrite it (default), skip it if it is a copy, or fail",
    )
    add(
        "--verify",
        choices=("before", "after", "off"),
        help="compare checksums before an object becomes visible (default), after, or never",
    )
    add("--copy-tags", action=argparse.BooleanOptionalAction, help="copy the tags of each object, too")
    add(
        "--transform",
        metavar="NAME",
        help=f"transform each file: {', '.join(transforms.NAMES)}, or your function as module:function, from "
        "this directory or an installed package; separate several with commas",
    )
    add("--max-output", type=parse_bytes, metavar="SIZE", help="maximum output per file; default: any size")
    add(
        "--max-ratio",
        type=_ratio,
        metavar="N",
        help='maximum output bytes per input byte, checked above 64 MiB of output, or "none"; default: 250',
    )
    add("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's, for both ends")
    add_ends(parser)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options that limit how much is in flight; `LIMITS` names their settings."""
    add = parser.add_argument
    add("--max-concurrency", type=int, metavar="N", help="maximum files or parts in flight; default: 10")
    add(
        "--memory-limit",
        type=parse_bytes,
        metavar="SIZE",
        help="memory for all parts in flight; default: 64MiB",
    )


def given_settings(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the named settings that the command line sets."""
    given = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def parse_bytes(text: str) -> int:
    """Return a size, such as 5GiB, in bytes, for argparse."""
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size_or_auto(text: str) -> int | str:
    return text if text == "auto" else parse_bytes(text)


def _ratio(text: str) -> float:
    return math.inf if text == "none" else float(text)
