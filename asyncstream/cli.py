"""The command line: `asyncstream copy`, `clean` and `compare`; installed as `asyncstream`.

Exit codes: 0 all went well, 1 something failed, 2 the command line or its input is wrong, 130 Ctrl-C.
"""

import argparse
import importlib.util
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from asyncstream.config import TransferConfig
from asyncstream.engines import ENGINES
from asyncstream.errors import AsyncstreamError, ConfigError, InputError, told
from asyncstream.jobs import Pair
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.report.sizes import parse_size, rounded
from asyncstream.results import TransferReport
from asyncstream.session import DEFAULT_ENGINE, TransferSession
from asyncstream.version import __version__

if TYPE_CHECKING:
    from asyncstream.report.comparison import Comparison
    from asyncstream.tasks import Job

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

COPY_HELP = """\
Copy every object under one S3 prefix to another; the bytes stream through this process.

Prefixes are taken verbatim: `s3://a/logs` also takes in `logs-old/1.gz`. End them with a slash to mean
a folder. Settings may also come from the environment: ASYNCSTREAM_MEMORY_LIMIT and so on."""

CLEAN_HELP = """\
Remove the multipart uploads under a prefix that were begun long ago, and neither completed nor aborted.

A process that is killed leaves them: their parts are in no listing, and are paid for. A lifecycle rule
(AbortIncompleteMultipartUpload) does the same by itself. Whoever began them: choose an age that no upload
under way has, and a prefix that is yours."""

COMPARE_HELP = """\
Copy the same files in every way, each in a Lambda function of its own, and show what is faster and cheaper.

Starts an S3 server on this machine that behaves like S3 seen from Lambda, and a Lambda that holds functions
to their memory and CPU where control groups can be had; needs no account, no network and no disk. The
defaults take about three and a half minutes. A sweep over sizes (--memory) takes that long for each. With
--stack the functions that you have deployed are compared, in Lambda and on S3."""

VARIANTS_HELP = "sequential, threads, threads-multipart, asyncio, asyncio-multipart, boto3, boto3-pool"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given, argparse.Namespace(arguments=given))
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ConfigError, InputError) as error:
        return _fail(error, WRONG_INPUT)
    except AsyncstreamError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt as stopped:
        # asyncio raises one of its own, out of the cancellation that has the notes.
        notes = told(stopped) or told(stopped.__context__ or stopped)
        _say(f"interrupted{notes and ': '}{notes}")
        return INTERRUPTED


def copy(options: argparse.Namespace) -> int:
    """`asyncstream copy`."""
    pair = _pair(options)
    config = TransferConfig.from_env().override(_given(options))
    with TransferSession(options.engine, endpoint_url=options.endpoint_url) as session:
        if options.dry_run:
            return _list_jobs(session.plan([pair], config))
        report = _transfer(session, pair, config)
    for file in report.failed:
        _say(f"FAILED  {file.source} -> {file.destination}: {type(file.error).__name__}: {told(file.error)}")
    if report.unverified and config.verify != "off":
        _say(
            f"{len(report.unverified):,} files not verified: the destination's server returns no CRC64NVME "
            "of what it received"
        )
    _say(_summary(report))
    return FAILED if report.failed or report.pending else OK


def clean(options: argparse.Namespace) -> int:
    """`asyncstream clean`."""
    prefix, age = S3Prefix.from_uri(options.prefix), _duration(options.older_than)
    with TransferSession("sequential", endpoint_url=options.endpoint_url) as session:
        uploads = session.stale_uploads(prefix, age)
        for upload in uploads:
            print(f"{upload.target}  begun {upload.initiated:%Y-%m-%d %H:%M} UTC  {upload.upload_id}")  # noqa: T201 - what was asked for
        if not options.dry_run:
            session.abort(uploads)
    done = "dry run: would be removed" if options.dry_run else "removed"
    _say(f"{len(uploads):,} uploads older than {options.older_than}: {done}")
    return OK


def compare(options: argparse.Namespace) -> int:
    """`asyncstream compare`."""
    _require("awslambdaric", "jinja2", "moto", "rich", "trustme", extra="lab")
    from asyncstream.lab.compare import comparing  # noqa: PLC0415 - the core install lacks what it imports
    from asyncstream.lab.compare.display import display_for  # noqa: PLC0415
    from asyncstream.lab.compare.settings import checked  # noqa: PLC0415
    from asyncstream.report import table  # noqa: PLC0415

    settings = checked(options)
    outputs = _outputs(options)
    comparison = comparing.compare(settings, display_for(sys.stderr))
    for path, render in outputs:
        _write(path, render(comparison))
    # Standard output has the table, unless it is to hold nothing but what was asked for.
    taken = any(path == "-" for path, _ in outputs)
    table.draw(comparison, sys.stderr if taken else sys.stdout)
    if comparing.CTRL_C in (comparison.ended_early, comparison.untraced):
        return INTERRUPTED
    return FAILED if comparison.errors or comparison.ended_early else OK


def _outputs(options: argparse.Namespace) -> "list[tuple[str, Callable[[Comparison], bytes]]]":
    """The documents that were asked for: where each goes, and what makes it.

    Raises:
        InputError: one cannot be written there.
    """
    from asyncstream.report.document import document  # noqa: PLC0415
    from asyncstream.report.html import page  # noqa: PLC0415
    from asyncstream.report.markdown import markdown  # noqa: PLC0415

    asked: list[tuple[str, str | None, Callable[[Comparison], bytes]]] = [
        ("--json", options.json, document),
        ("--markdown", options.markdown, lambda comparison: markdown(comparison).encode()),
        ("--html", options.html, lambda comparison: page(comparison).encode()),
    ]
    outputs = [(name, path, render) for name, path, render in asked if path is not None]
    if sum(path == "-" for _, path, _ in outputs) > 1:
        raise InputError("only one of --json, --markdown and --html can go to standard output: name files")
    for name, path, _ in outputs:
        if not Path(path).parent.is_dir():
            raise InputError(f"{name} {path}: there is no such directory")
    return [(path, render) for _, path, render in outputs]


def _write(path: str, content: bytes) -> None:
    if path == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        Path(path).write_bytes(content)


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="asyncstream", description="Stream S3 files through a fixed memory cap.")
    parser.add_argument("--version", action="version", version=f"asyncstream {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    _add_copy(commands.add_parser("copy", help="copy S3 objects", description=COPY_HELP, formatter_class=raw))
    _add_clean(
        commands.add_parser(
            "clean", help="remove unfinished uploads", description=CLEAN_HELP, formatter_class=raw
        )
    )
    _add_compare(
        commands.add_parser(
            "compare",
            help="see which way is faster and cheaper",
            description=COMPARE_HELP,
            formatter_class=raw,
        )
    )
    return parser


def _add_copy(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=copy)
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
    add("--endpoint-url", metavar="URL", help="another S3 than AWS's")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=clean)
    add = parser.add_argument
    add("prefix", metavar="PREFIX", help="s3://bucket/prefix")
    add("--older-than", default="1d", metavar="AGE", help="30m, 12h, 7d; default: %(default)s")
    add("--dry-run", action="store_true", help="list the uploads only")
    add("--endpoint-url", metavar="URL", help="another S3 than AWS's")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=compare)
    add = parser.add_argument
    add(
        "--files",
        action="append",
        metavar="COUNTxSIZE",
        help="what to copy, such as 500x1MiB; may be repeated; default: 10x100MB and 500x16KiB",
    )
    add("--variants", metavar="A,B", help=f"the ways to compare, of {VARIANTS_HELP}; default: all")
    add("--rounds", type=int, default=1, metavar="N", help="runs of each; more give medians and a spread")
    add("--concurrency", type=int, default=10, metavar="N", help="transfers at once; default: %(default)s")
    add(
        "--model",
        metavar="MODEL",
        help='the network: MB/s a connection / MB/s together / ms to the first byte, or "off"; '
        "default: 53/90/25, one fit of figures from Lambda",
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
    add("--html", metavar="FILE", help="also as a page with charts and traces, in one file")
    add("--markdown", nargs="?", const="-", metavar="FILE", help="also as a comment for a pull request")
    add("--json", nargs="?", const="-", metavar="FILE", help="also as JSON, to a file or standard output")
    add(
        "--stack",
        metavar="NAME",
        help="compare the functions of this stack of deploy/template.yaml, on AWS; files are uploaded and "
        "deleted; default sizes: the functions' own",
    )
    add("--endpoint-url", metavar="URL", help="compare on this S3 instead; files are uploaded and deleted")
    add("--source-bucket", metavar="NAME", help="with --endpoint-url: an existing bucket; default: a new one")
    add("--destination-bucket", metavar="NAME", help="with --endpoint-url: likewise, for results")


def _pair(options: argparse.Namespace) -> Pair:
    if options.object:
        return S3Object.from_uri(options.source), S3Object.from_uri(options.destination)
    return S3Prefix.from_uri(options.source), S3Prefix.from_uri(options.destination)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of TransferConfig that the command line names."""
    names = ("max_concurrency", "memory_limit", "part_size", "multipart", "if_exists", "verify")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _list_jobs(jobs: "Sequence[Job]") -> int:
    for job in jobs:
        size = "size unknown" if job.size is None else f"{job.size:,} bytes"
        print(f"{job.source} -> {job.destination}  {size}")  # noqa: T201 - what was asked for
    known = sum(job.size for job in jobs if job.size is not None)
    _say(f"dry run: {len(jobs):,} files, {rounded(known)}, would be copied")
    return OK


def _transfer(session: TransferSession, pair: Pair, config: TransferConfig) -> TransferReport:
    """Copy, with a progress bar where somebody watches."""
    if not sys.stderr.isatty():
        return session.transfer([pair], config)
    if importlib.util.find_spec("rich") is None:
        _say("no progress bar without rich: pip install 'asyncstream[cli]'")
        return session.transfer([pair], config)
    from asyncstream.report.progress_bar import ProgressBar  # noqa: PLC0415 - only drawing needs rich

    bar = ProgressBar(sys.stderr)
    with bar.shown():
        return session.transfer([pair], config, bar.on_event)


def _summary(report: TransferReport) -> str:
    copied = len(report.copied)
    rate = rounded(report.bytes / report.seconds) if report.seconds else "0 B"
    others = [
        ("there already", report.skipped),
        ("left at the deadline", report.pending),
        ("failed", report.failed),
    ]
    more = "".join(f", {len(files):,} {what}" for what, files in others if files)
    return (
        f"{copied:,} of {len(report.files):,} files copied{more}: {rounded(report.bytes)} in "
        f"{report.seconds:.1f} s ({rate}/s), {sum(report.requests.values()):,} requests, {report.engine}"
    )


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise InputError(f"--older-than {text!r} is no age: write 30m, 12h, 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _size_or_auto(text: str) -> int | str:
    return text if text == "auto" else _size(text)


def _require(*modules: str, extra: str) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'asyncstream[{extra}]'")


def _interrupt(*_: object) -> None:
    """Whoever ends the process politely gets the same cleaning up as Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # not raised from here: asyncio has a way of its own with it


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - a command line talks


def _fail(error: Exception, code: int) -> int:
    _say(f"asyncstream: {error}")
    return code


if __name__ == "__main__":
    sys.exit(main())
