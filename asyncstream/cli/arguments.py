"""The arguments of `asyncstream copy`, `clean` and `compare`, and their `--help`."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from asyncstream import transforms
from asyncstream.engines import ENGINES
from asyncstream.errors import InputError
from asyncstream.pipeline.session import DEFAULT_ENGINE
from asyncstream.units import parse_size
from asyncstream.version import __version__

Run = Callable[[argparse.Namespace], int]

COPY_HELP = """\
Copy every object under one S3 prefix to another; the bytes stream through this process.

Prefixes are taken verbatim: `s3://a/logs` also takes in `logs-old/1.gz`. End them with a slash to mean
a folder. Settings may also come from the environment: ASYNCSTREAM_MEMORY_LIMIT and so on.

With --transform each file is changed on its way. Keys stay as they are, whatever their endings say."""

CLEAN_HELP = """\
Remove the multipart uploads under a prefix that were begun long ago, and neither completed nor aborted.

A process that is killed leaves them: their parts are in no listing, and are paid for. A lifecycle rule
(AbortIncompleteMultipartUpload) does the same by itself. Whoever began them: choose an age that no upload
under way has, and a prefix that is yours."""

COMPARE_HELP = """\
Do the same work in every way, each in a Lambda function of its own, and show what is faster and cheaper.

Starts an S3 server on this machine that behaves like S3 seen from Lambda, and a Lambda that holds functions
to their memory and CPU where control groups can be had; needs no account, no network and no disk. The
defaults take about three and a half minutes. A sweep over sizes (--memory) takes that long for each. With
--stack the functions that you have deployed are compared, in Lambda and on S3.

With --workload web pages are gathered into a table of Postgres: from a web on this machine that is as slow as
the web is, into a Postgres on this machine that is as far away as RDS is from Lambda. About a minute."""

VARIANTS_HELP = (
    "sequential, threads, threads-multipart, asyncio, asyncio-multipart, boto3, boto3-pool; of web: "
    "sequential, threads, asyncio, urllib, urllib-pool"
)


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser(copy: Run, clean: Run, compare: Run) -> argparse.ArgumentParser:
    """The parser; `run` of what it reads is the function of the command that was given."""
    whole = _Parser(prog="asyncstream", description="Stream S3 files through a fixed memory cap.")
    whole.add_argument("--version", action="version", version=f"asyncstream {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, run, add, told, description in (
        ("copy", copy, _add_copy, "copy S3 objects", COPY_HELP),
        ("clean", clean, _add_clean, "remove unfinished uploads", CLEAN_HELP),
        ("compare", compare, _add_compare, "see which way is faster and cheaper", COMPARE_HELP),
    ):
        command = commands.add_parser(
            name,
            help=told,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        add(command)
    return whole


def _add_copy(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="s3://bucket/prefix")
    add("destination", metavar="DESTINATION", help="s3://bucket/prefix that takes the place of SOURCE")
    add("--object", action="store_true", help="SOURCE and DESTINATION are one object each, not prefixes")
    add("--dry-run", action="store_true", help="list what would be copied: source, destination, bytes")
    add("--engine", choices=ENGINES, default=DEFAULT_ENGINE, help="default: %(default)s")
    add("--max-concurrency", type=int, metavar="N", help="most files, or parts, in flight; default: 10")
    add("--memory-limit", type=_size, metavar="SIZE", help="for all parts in flight; default: 64MiB")
    add("--part-size", type=_size_or_auto, metavar="SIZE", help='5MiB to 5GiB, or "auto", the default')
    add(
        "--multipart",
        action=argparse.BooleanOptionalAction,
        help="copy the parts of a file at once, not each file as one stream",
    )
    add(
        "--if-exists",
        choices=("overwrite", "skip", "fail"),
        help="of a destination that is there: overwrite it (default), leave it if it is a copy, or fail",
    )
    add(
        "--verify",
        choices=("before", "after", "off"),
        help="compare checksums before an object becomes visible (default), after, or never",
    )
    add(
        "--transform",
        metavar="NAME",
        help=f"what to make of each file, instead of a copy: {', '.join(transforms.NAMES)}, or a function of "
        "yours as module:function, from this directory or installed; several with commas between",
    )
    add("--max-output", type=_size, metavar="SIZE", help="most that may be made of a file; default: any size")
    add(
        "--max-ratio",
        type=_ratio,
        metavar="N",
        help='most bytes that may be made of each byte, from 64 MiB on, or "none"; default: 250',
    )
    add("--endpoint-url", metavar="URL", help="another S3 than AWS's")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prefix", metavar="PREFIX", help="s3://bucket/prefix")
    add("--older-than", default="1d", metavar="AGE", help="30m, 12h, 7d; default: %(default)s")
    add("--dry-run", action="store_true", help="list the uploads only")
    add("--endpoint-url", metavar="URL", help="another S3 than AWS's")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_compared_work(parser.add_argument)
    _add_measuring(parser.add_argument)
    _add_reports(parser.add_argument)
    _add_sites(parser.add_argument)


def _add_compared_work(add: Callable[..., Any]) -> None:
    add(
        "--workload",
        choices=("s3", "web"),
        default="s3",
        help="files copied from S3 to S3 (default), or pages of the web gathered into a table of Postgres",
    )
    add("--pages", type=int, metavar="N", help="of web: how many; default: 80")
    add("--hosts", type=int, metavar="N", help="of web: how many the pages are of; default: 20")
    add(
        "--dsn",
        metavar="DSN",
        help="of web: another Postgres than one on this machine, where the user may make a table, which is "
        "dropped afterwards",
    )
    add(
        "--files",
        action="append",
        metavar="COUNTxSIZE",
        help="what to copy, such as 500x1MiB; may be repeated; default: 10x100MB and 500x16KiB",
    )
    add("--variants", metavar="A,B", help=f"the ways to compare, of {VARIANTS_HELP}; default: all")
    add(
        "--transform",
        metavar="NAME",
        help="have each file changed on its way, by gzip, zstd or a function of yours as module:function, to "
        "compare work for the CPU: as one stream a file, by the ways without multipart, and not by boto3's. "
        "The files are random bytes that repeat every MiB: gzip makes them no smaller, zstd does, and no "
        "decompressor takes them",
    )


def _add_measuring(add: Callable[..., Any]) -> None:
    add("--rounds", type=int, default=1, metavar="N", help="runs of each; more give medians and a spread")
    add(
        "--concurrency",
        type=int,
        metavar="N",
        help="files, parts or pages at once; default: 10, of web 60",
    )
    add(
        "--model",
        metavar="MODEL",
        help='the network: MB/s a connection / MB/s together / ms to the first byte, or "off"; '
        "default: 53/90/25, one fit of figures from Lambda. Of web: ms to a page on average / sigma of their "
        "log-normal spread / ms a round trip to Postgres; default: 187.5/1/9.5, likewise",
    )
    add("--tls", action="store_true", help="serve https, as S3 does")
    add(
        "--faults",
        type=float,
        metavar="SHARE",
        help="let this share of the requests to the local S3 go wrong, a fraction such as 0.05, to see which "
        "way survives it",
    )
    add("--memory", metavar="MB,MB", help="sizes of function to try; default: each way has all it wants")
    add(
        "--trace",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether runs are traced by X-Ray, which the page shows; default: they are",
    )
    add(
        "--repeat",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether one way is measured twice, to see what is mere noise; default: it is",
    )
    add(
        "--architecture",
        choices=("arm64", "x86_64"),
        help="to bill; default: arm64, with --stack the functions' own",
    )
    add("--prices", type=Path, metavar="FILE", help="another price table, of the form of report/prices.json")


def _add_reports(add: Callable[..., Any]) -> None:
    add("--html", metavar="FILE", help="also as a page with charts and traces, in one file")
    add("--markdown", nargs="?", const="-", metavar="FILE", help="also as a comment for a pull request")
    add("--json", nargs="?", const="-", metavar="FILE", help="also as JSON, to a file or standard output")


def _add_sites(add: Callable[..., Any]) -> None:
    add(
        "--stack",
        metavar="NAME",
        help="compare the functions of this stack of deploy/template.yaml, on AWS; files are uploaded and "
        "deleted; default sizes: the functions' own",
    )
    add("--endpoint-url", metavar="URL", help="compare on this S3 instead; files are uploaded and deleted")
    add("--source-bucket", metavar="NAME", help="with --endpoint-url: an existing bucket; default: a new one")
    add("--destination-bucket", metavar="NAME", help="with --endpoint-url: likewise, for results")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size_or_auto(text: str) -> int | str:
    return text if text == "auto" else _size(text)


def _ratio(text: str) -> float:
    return math.inf if text == "none" else float(text)
