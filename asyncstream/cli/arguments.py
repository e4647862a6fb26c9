"""The arguments of `asyncstream copy`, `clean` and `compare`, and their `--help`."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from asyncstream.cli.archive_arguments import (
    CONCAT_HELP,
    LS_HELP,
    SPLIT_HELP,
    TAR_HELP,
    UNTAR_HELP,
    UNZIP_HELP,
    ZIP_HELP,
    add_archive,
    add_concat,
    add_ls,
    add_split,
    add_untar,
    add_unzip,
)
from asyncstream.cli.run_arguments import (
    ABORT_HELP,
    ESTIMATE_HELP,
    FINISH_HELP,
    PLAN_HELP,
    RUN_HELP,
    add_estimate,
    add_finish,
    add_plan,
    add_run,
)
from asyncstream.cli.transfer_arguments import add_transfer
from asyncstream.cli.worker_arguments import ENQUEUE_HELP, WORKER_HELP, add_enqueue, add_worker
from asyncstream.version import __version__

Run = Callable[[argparse.Namespace], int]

COPY_HELP = """\
Copy every object under one S3 prefix to another; the bytes stream through this process.

A path (/data/, ./x.csv, file:///data/x.csv) can take the place of an S3 URI on either side: a folder that of
a prefix, a file that of an object. SOURCE can also be a URL (https://host/x.csv), and either side `-`, which
is standard input or output. GATHER_* variables, such as GATHER_HEADERS, say how URLs are requested.

A prefix matches the start of keys: `s3://a/logs` also matches `logs-old/1.gz`. End it with a slash to mean a
folder. If SOURCE is an object and DESTINATION ends with a slash, the object is copied into that folder, as by
`aws s3 cp`; if other keys start with SOURCE, add --object. Environment variables such as
ASYNCSTREAM_MEMORY_LIMIT set the defaults of these settings.

--transform changes the content of each file. Keys stay the same, including their extensions."""

CLEAN_HELP = """\
Remove old multipart uploads under a prefix that were neither completed nor aborted.

A killed process leaves such uploads. Their parts are in no listing, but cost money. A lifecycle rule
(AbortIncompleteMultipartUpload) removes them automatically. This command also removes uploads that other
programs started, so choose a prefix that is yours, and an age that no running upload has."""

COMPARE_HELP = """\
Do the same work in several ways, each in its own Lambda function, and show which is faster and cheaper.

It starts a local S3 server that is as fast as S3 is from Lambda, and a local Lambda that limits functions to
their memory and CPU where control groups are available. It needs no account, no network and no disk. The
defaults take about three and a half minutes. With several sizes (--memory), each takes that long. --stack
compares the functions that you have deployed, in Lambda and on S3.

--workload web loads web pages into a Postgres table, from a local web as slow as the real one, into a local
Postgres as far away as RDS is from Lambda. It takes about a minute."""

VARIANTS_HELP = (
    "sequential, threads, threads-multipart, asyncio, asyncio-multipart, boto3, boto3-pool; for web: "
    "sequential, threads, asyncio, urllib, urllib-pool"
)


class _Parser(argparse.ArgumentParser):
    """An argparse parser that prints errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """Return the parser. `run` of its result is the function of the command, by its name in `runs`."""
    whole = _Parser(prog="asyncstream", description="Stream S3 files through a fixed memory cap.")
    whole.add_argument("--version", action="version", version=f"asyncstream {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, add, summary, description in (
        ("copy", _add_copy, "copy S3 objects", COPY_HELP),
        ("ls", add_ls, "list a ZIP or tar archive", LS_HELP),
        ("unzip", add_unzip, "unpack a ZIP archive", UNZIP_HELP),
        ("untar", add_untar, "unpack a tar archive", UNTAR_HELP),
        ("tar", add_archive, "pack files into a tar archive", TAR_HELP),
        ("zip", add_archive, "pack files into a ZIP archive", ZIP_HELP),
        ("concat", add_concat, "join files", CONCAT_HELP),
        ("split", add_split, "cut a text at line ends", SPLIT_HELP),
        ("estimate", add_estimate, "see what a run of many files takes", ESTIMATE_HELP),
        ("plan", add_plan, "plan a run of many files", PLAN_HELP),
        ("run", add_run, "move batches of a run", RUN_HELP),
        ("finish", add_finish, "complete a run", FINISH_HELP),
        ("abort", add_finish, "drop the uploads of a run", ABORT_HELP),
        ("enqueue", add_enqueue, "fill a queue with the batches of a run", ENQUEUE_HELP),
        ("worker", add_worker, "take batches of runs from a queue", WORKER_HELP),
        ("clean", _add_clean, "remove unfinished uploads", CLEAN_HELP),
        ("compare", _add_compare, "see which way is faster and cheaper", COMPARE_HELP),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=runs[name], command=name)
        add(command)
    return whole


def _add_copy(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="s3://bucket/prefix, a path, a URL, or -")
    add(
        "destination",
        metavar="DESTINATION",
        help="s3://bucket/prefix that replaces SOURCE in the keys; or a path, or -",
    )
    add(
        "--object",
        action="store_true",
        help="copy one object: SOURCE and DESTINATION are s3://bucket/key; a DESTINATION that ends with a "
        "slash is a folder",
    )
    add("--sha256", metavar="DIGEST", help="the SHA-256 that a URL's file must have, in hexadecimal")
    add_transfer(parser)


def _add_clean(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prefix", metavar="PREFIX", help="s3://bucket/prefix, or a folder")
    add("--older-than", default="1d", metavar="AGE", help="such as 30m, 12h, 7d; default: %(default)s")
    add("--dry-run", action="store_true", help="only list the uploads")
    add("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_workload(parser.add_argument)
    _add_measurement(parser.add_argument)
    _add_reports(parser.add_argument)
    _add_sites(parser.add_argument)


def _add_workload(add: Callable[..., Any]) -> None:
    add(
        "--workload",
        choices=("s3", "web"),
        default="s3",
        help="copy files from S3 to S3 (default), or load web pages into a Postgres table",
    )
    add("--pages", type=int, metavar="N", help="for web: number of pages; default: 80")
    add("--hosts", type=int, metavar="N", help="for web: number of hosts of the pages; default: 20")
    add(
        "--dsn",
        metavar="DSN",
        help="for web: use this Postgres instead of a local one; the user must be allowed to create a table, "
        "which is dropped afterwards",
    )
    add(
        "--files",
        action="append",
        metavar="COUNTxSIZE",
        help="files to copy, such as 500x1MiB; may be repeated; default: 10x100MB and 500x16KiB",
    )
    add("--variants", metavar="A,B", help=f"variants to compare: {VARIANTS_HELP}; default: all")
    add(
        "--transform",
        metavar="NAME",
        help="transform each file by gzip, zstd or your function as module:function, to compare CPU work: as "
        "one stream per file, by the variants without multipart, and without boto3's. The files are random "
        "bytes that repeat every MiB: gzip does not make them smaller, zstd does, and no decompressor "
        "accepts them",
    )


def _add_measurement(add: Callable[..., Any]) -> None:
    add("--rounds", type=int, default=1, metavar="N", help="runs per variant; more give medians and a spread")
    add(
        "--concurrency",
        type=int,
        metavar="N",
        help="concurrent files, parts or pages; default: 10, for web 60",
    )
    add(
        "--model",
        metavar="MODEL",
        help='network model: MB/s per connection / MB/s in total / ms to the first byte, or "off"; '
        "default: 53/90/25, fitted to figures from Lambda. For web: average ms per page / sigma of its "
        "log-normal spread / ms per round trip to Postgres; default: 187.5/1/9.5, also fitted",
    )
    add("--tls", action="store_true", help="serve https, as S3 does")
    add(
        "--faults",
        type=float,
        metavar="SHARE",
        help="make this share of the requests to the local S3 fail, a fraction such as 0.05, to see which "
        "variants survive",
    )
    add("--memory", metavar="MB,MB", help="function sizes to try; default: no limits")
    add(
        "--trace",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to trace runs with X-Ray, for the HTML page; default: yes",
    )
    add(
        "--repeat",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to measure one variant twice, to see the noise; default: yes",
    )
    add(
        "--architecture",
        choices=("arm64", "x86_64"),
        help="architecture to price; default: arm64, with --stack the functions' own",
    )
    add("--prices", type=Path, metavar="FILE", help="a price table in the format of asyncstream/prices.json")


def _add_reports(add: Callable[..., Any]) -> None:
    add("--html", metavar="FILE", help="also write a page with charts and traces, in one file")
    add(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="also write a comment for a pull request, to a file or standard output",
    )
    add("--json", nargs="?", const="-", metavar="FILE", help="also write JSON, to a file or standard output")


def _add_sites(add: Callable[..., Any]) -> None:
    add(
        "--stack",
        metavar="NAME",
        help="compare the functions of this stack of deploy/template.yaml on AWS; uploads and deletes files; "
        "default sizes: the functions' own",
    )
    add("--endpoint-url", metavar="URL", help="compare on this S3 instead; uploads and deletes files")
    add(
        "--source-bucket",
        metavar="NAME",
        help="with --endpoint-url: existing bucket for the source files; default: a new one",
    )
    add(
        "--destination-bucket",
        metavar="NAME",
        help="with --endpoint-url: existing bucket for results; default: a new one",
    )
