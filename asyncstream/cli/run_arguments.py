"""The arguments of `asyncstream plan`, `estimate`, `run`, `finish` and `abort`, and their `--help`."""

import argparse
from typing import get_args

from asyncstream.cli.ends import add_ends
from asyncstream.cli.transfer_arguments import add_limits
from asyncstream.engines import ENGINES
from asyncstream.pipeline.session import DEFAULT_ENGINE
from asyncstream.runs.descriptions import SourceKind

PLAN_HELP = """\
Write what to copy as batches under s3://bucket/RUN/, for many workers to move.

A batch takes a worker about a minute, and ten seconds in small runs. Files that take longer than half a
minute are cut into parts, which several workers move. Then run the batches: on one machine by `asyncstream
run RUN`, on many by `--shard`, by an array of AWS Batch or Kubernetes jobs, by `asyncstream enqueue` and
`asyncstream worker`, or by the state machine of deploy/template.yaml. `asyncstream finish RUN` completes the
run, and says what is left.

SOURCE is a prefix; with --kind, the manifest.json of an S3 Inventory, a list of files (JSON Lines or CSV with
the fields source, destination, size, etag, version_id), a ZIP archive, or a text to cut at line ends."""

ESTIMATE_HELP = """\
Say what a run would copy, how long it would take, and what it would cost. Nothing is written.

SOURCE and --kind are as for `asyncstream plan`."""

RUN_HELP = """\
Move batches of a run: all that are not done, one with --batch, or a share of them with --shard.

Without --batch and --shard, it reads AWS_BATCH_JOB_ARRAY_INDEX or JOB_COMPLETION_INDEX, which AWS Batch and
Kubernetes set for each job of an array, and moves the batch of this number. A batch that is done is not moved
again. The exit code is 1 if files are left: their names and the reasons are printed. Run the same command
again for these. It is 130 after Ctrl-C or SIGTERM."""

FINISH_HELP = """\
Complete the giant files of a run whose parts are all there, and say what is left.

It can be repeated, also while workers run, to see how far they are. The exit code is 0 if all files of the
run are at their destinations, and 1 if not."""

ABORT_HELP = """\
Drop the unfinished uploads of a run. Files that are whole stay.

Stop its workers first. The run cannot complete its giant files afterwards: plan it at a new place."""


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream plan`."""
    _add_places(parser)
    parser.add_argument("run_prefix", metavar="RUN", help="s3://bucket/RUN/, where to write the plan")
    _add_source(parser)
    add = parser.add_argument
    add(
        "--if-exists",
        choices=("overwrite", "skip", "fail"),
        help="if a destination exists; default: overwrite",
    )
    add("--copy-tags", action=argparse.BooleanOptionalAction, help="copy the tags of each object, too")
    add("--transform", metavar="NAME", help="transform each file; see `asyncstream copy --help`")
    add(
        "--copy-parts",
        action="store_true",
        help="have S3 copy the parts of giant files itself; both ends are one server, and the destination's "
        "role may read the source",
    )
    _add_access(parser)


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream estimate`."""
    _add_places(parser)
    _add_source(parser)
    add = parser.add_argument
    add("--report", metavar="FILE", help="JSON of `asyncstream compare --json`, to take measured speeds from")
    add("--way", default="threads", metavar="NAME", help="variant of that report; default: %(default)s")
    add("--prices", metavar="FILE", help="a price table in the format of asyncstream/prices.json")
    add("--transform", metavar="NAME", help="transform each file: giant files are then not cut")
    _add_access(parser)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream run`."""
    parser.add_argument("run_prefix", metavar="RUN", help="s3://bucket/RUN/, where the run was planned")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--batch", type=int, metavar="N", help="move this batch, from 0")
    which.add_argument(
        "--shard", metavar="K/N", help="move every Nth batch, from batch K on, 0 to N-1; such as 3/20"
    )
    add_limits(parser)
    _add_access(parser)


def add_finish(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream finish` and `asyncstream abort`."""
    parser.add_argument("run_prefix", metavar="RUN", help="s3://bucket/RUN/, where the run was planned")
    _add_access(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="s3://bucket/prefix, or an object with --kind")
    parser.add_argument(
        "destination", metavar="DESTINATION", help="s3://bucket/prefix that files are copied to"
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--kind", choices=get_args(SourceKind), default="prefix", help="what SOURCE is; default: %(default)s")
    add(
        "--functions",
        type=int,
        default=50,
        metavar="N",
        help="most workers at once, up to 10,000; default: %(default)s",
    )
    add(
        "--memory",
        type=int,
        default=512,
        metavar="MB",
        help="memory of a worker, from 128; default: %(default)s",
    )
    add("--concurrency", type=int, default=10, metavar="N", help="slots of a worker; default: %(default)s")
    add(
        "--strip",
        metavar="PREFIX",
        help="start of the keys that DESTINATION replaces; default: SOURCE's prefix, and nothing for "
        "inventories and lists",
    )
    add("--select", default="*", metavar="PATTERN", help="with zip: which files, such as '*.csv'")
    add("--ranges", type=int, default=0, metavar="N", help="with lines: number of ranges; default: by size")
    add("--header", action="store_true", help="with lines: put the first line at the start of each range")
    add(
        "--join",
        default="",
        metavar="URI",
        help="with lines: have `finish` put the ranges together into this object, with the header once",
    )


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=ENGINES, default=DEFAULT_ENGINE, help="default: %(default)s")
    parser.add_argument("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's, for both ends")
    add_ends(parser)
