"""The command line: a function for each command; those for runs are in `run_commands.py`.

Exit codes: 0 for success, 1 for a failure, 2 for a wrong command line or input, 130 for Ctrl-C. They do not
depend on whether a reader of the output, such as `head`, has closed its pipe.
"""

import argparse
import importlib.util
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from asyncstream import transforms
from asyncstream.cli import run_commands, worker_commands
from asyncstream.cli.arguments import parser
from asyncstream.cli.ends import read_access
from asyncstream.cli.output import decode, prepare_streams, say
from asyncstream.cli.places import (
    into_folder,
    parse_folder,
    parse_listed,
    parse_pack,
    parse_pair,
    parse_split,
    parse_tar,
    parse_zip,
)
from asyncstream.cli.transfer_arguments import given_settings
from asyncstream.error_texts import full_message
from asyncstream.errors import AsyncstreamError, ConfigError, InputError
from asyncstream.locations import TarEntries, WebFile, ZipEntries
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.pairs import GivenPair
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.session import TransferSession
from asyncstream.s3.access import DESTINATION_PREFIX, SOURCE_PREFIX, S3Access
from asyncstream.units import rounded
from asyncstream.web import FetchConfig

if TYPE_CHECKING:
    from asyncstream.lab.report.comparison import Comparison
    from asyncstream.pipeline.jobs import Jobs

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
# The settings of `TransferConfig` that commands which transfer files have.
_SETTINGS = (
    *("max_concurrency", "memory_limit", "part_size", "multipart", "if_exists", "verify", "copy_tags"),
    *("transform", "max_output", "max_ratio"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code. By default, run that of the process."""
    signal.signal(signal.SIGTERM, _interrupt)
    if arguments is None:
        prepare_streams()
        arguments = decode(sys.argv[1:])
    given = list(arguments)
    options = parser(COMMANDS).parse_args(given, argparse.Namespace(arguments=given))
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ConfigError, InputError) as error:
        return _fail(error, WRONG_INPUT)
    except AsyncstreamError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt as stopped:
        # asyncio raises a new KeyboardInterrupt, whose context is the cancellation with the notes.
        notes = full_message(stopped) or full_message(stopped.__context__ or stopped)
        say(f"interrupted{notes and ': '}{notes}")
        return INTERRUPTED


def copy(options: argparse.Namespace) -> int:
    """Run `asyncstream copy` and return the exit code."""
    return _copy(options, parse_pair(options))


def unzip(options: argparse.Namespace) -> int:
    """Run `asyncstream unzip` and return the exit code."""
    return _copy(options, (parse_zip(options), parse_folder(options.destination)))


def untar(options: argparse.Namespace) -> int:
    """Run `asyncstream untar` and return the exit code."""
    return _copy(options, (parse_tar(options), parse_folder(options.destination)))


def pack(options: argparse.Namespace) -> int:
    """Run `asyncstream tar`, `zip` or `concat`, and return the exit code."""
    return _copy(options, parse_pack(options))


def split(options: argparse.Namespace) -> int:
    """Run `asyncstream split` and return the exit code."""
    return _copy(options, parse_split(options))


def list_archive(options: argparse.Namespace) -> int:
    """Run `asyncstream ls` and return the exit code."""
    entries, access = parse_listed(options), S3Access.read(SOURCE_PREFIX)
    with TransferSession("sequential", endpoint_url=options.endpoint_url, source=access) as session:
        found = session.list_entries(entries, FetchConfig.from_env())
    for each in sorted(found, key=lambda row: row.key):
        print(f"{each.size:>15,}  {each.key}")  # noqa: T201 - the result
    say(f"{len(found):,} files, {rounded(sum(each.size for each in found))}")
    return OK


def _copy(options: argparse.Namespace, pair: GivenPair) -> int:
    config = TransferConfig.from_env().override(given_settings(options, _SETTINGS))
    if config.transform is not None:
        _check_transform(config.transform)
    ends = {end: read_access(options, end) for end in ("source", "destination")}
    with TransferSession(options.engine, endpoint_url=options.endpoint_url, **ends) as session:
        pair = into_folder(session, pair, config)
        if options.dry_run:
            return _list_jobs(session.plan([pair], config))
        # Its variables are those of `gather`, too: wrong ones must not stop a copy without URLs.
        web = FetchConfig.from_env() if _reads_url(pair[0]) else None
        report = _transfer(session, pair, config, web)
    for file in report.of_status("failed"):
        failure = f"{type(file.error).__name__}: {full_message(file.error)}"
        if file.restarted is not None and file.restarted not in failure:
            failure += f"; the file was started again after: {file.restarted}"
        say(f"FAILED  {file.source} -> {file.destination}: {failure}")
    for file in report.files:
        if file.status != "failed" and file.upload_left is not None:
            say(f"UPLOAD LEFT  {file.upload_left}")
    for downgrade in report.downgrades:
        say(downgrade)
    say(_summary(report))
    return _exit_code(report)


def _reads_url(source: object) -> bool:
    archive = source.archive if isinstance(source, ZipEntries | TarEntries) else source
    return isinstance(archive, WebFile)


def _exit_code(report: TransferReport) -> int:
    """Return the exit code of a copy: the same for wrong settings, whether a listing or a file meets them."""
    failed = report.count("failed")
    wrong = (isinstance(file.error, ConfigError | InputError) for file in report.of_status("failed"))
    if failed and failed == len(report.files) and all(wrong):
        return WRONG_INPUT
    return FAILED if failed or report.count("pending") else OK


def clean(options: argparse.Namespace) -> int:
    """Run `asyncstream clean` and return the exit code."""
    prefix, age = parse_folder(options.prefix), _duration(options.older_than)
    access = S3Access.read(DESTINATION_PREFIX)
    with TransferSession("sequential", endpoint_url=options.endpoint_url, destination=access) as session:
        uploads = session.stale_uploads(prefix, age)
        for upload in uploads:
            print(f"{upload.target}  started {upload.initiated:%Y-%m-%d %H:%M} UTC  {upload.upload_id}")  # noqa: T201 - the result
        if not options.dry_run:
            session.abort(uploads)
    done = "dry run: would be removed" if options.dry_run else "removed"
    say(f"{len(uploads):,} uploads older than {options.older_than}: {done}")
    return OK


def compare(options: argparse.Namespace) -> int:
    """Run `asyncstream compare` and return the exit code."""
    _require("awslambdaric", "jinja2", "moto", "psycopg", "rich", "trustme", extra="lab")
    from asyncstream.lab.compare import comparing  # noqa: PLC0415 - needs packages of the extra "lab"
    from asyncstream.lab.compare.display import display_for  # noqa: PLC0415
    from asyncstream.lab.compare.settings import check_settings  # noqa: PLC0415
    from asyncstream.lab.report import table  # noqa: PLC0415

    settings = check_settings(options)
    if options.transform is not None:
        _check_transform(options.transform)
    outputs = _outputs(options)
    comparison = comparing.compare(settings, display_for(sys.stderr))
    for path, render in outputs:
        _write(path, render(comparison))
    # The table goes to standard error if a document goes to standard output.
    taken = any(path == "-" for path, _ in outputs)
    table.draw(comparison, sys.stderr if taken else sys.stdout)
    if comparing.CTRL_C in (comparison.ended_early, comparison.untraced):
        return INTERRUPTED
    return FAILED if comparison.errors or comparison.ended_early else OK


def _outputs(options: argparse.Namespace) -> "list[tuple[str, Callable[[Comparison], bytes]]]":
    """Return the path and the render function of each requested document.

    Raises:
        InputError: a document cannot be written to its path.
    """
    from asyncstream.lab.report.document import document  # noqa: PLC0415
    from asyncstream.lab.report.html import page  # noqa: PLC0415
    from asyncstream.lab.report.markdown import markdown  # noqa: PLC0415

    documents: list[tuple[str, str | None, Callable[[Comparison], bytes]]] = [
        ("--json", options.json, document),
        ("--markdown", options.markdown, lambda comparison: markdown(comparison).encode()),
        ("--html", options.html, lambda comparison: page(comparison).encode()),
    ]
    outputs = [(name, path, render) for name, path, render in documents if path is not None]
    if sum(path == "-" for _, path, _ in outputs) > 1:
        raise InputError("only one of --json, --markdown and --html can go to standard output: name files")
    for name, path, _ in outputs:
        if not Path(path).parent.is_dir():
            raise InputError(f"{name} {path}: the directory does not exist, so create it or choose another")
    return [(path, render) for _, path, render in outputs]


def _write(path: str, content: bytes) -> None:
    if path == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        Path(path).write_bytes(content)


def _check_transform(transform: str) -> None:
    """Check that the transform exists. Installed modules come before those of the working directory.

    Raises:
        ConfigError: the transform does not exist.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    transforms.factory(transform)


def _list_jobs(jobs: "Jobs") -> int:
    for job in jobs:
        size = "size unknown" if job.size is None else f"{job.size:,} bytes"
        print(f"{job.source} -> {job.destination}  {size}")  # noqa: T201 - the result
    known = sum(job.size for job in jobs if job.size is not None)
    say(f"dry run: {len(jobs):,} files, {rounded(known)}, would be copied{_markers(jobs.folder_markers)}")
    return OK


def _transfer(
    session: TransferSession, pair: GivenPair, config: TransferConfig, web: FetchConfig | None
) -> TransferReport:
    """Copy, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return session.transfer([pair], config, web=web)
    if importlib.util.find_spec("rich") is None:
        say("no progress bar without rich: pip install 'asyncstream[cli]'")
        return session.transfer([pair], config, web=web)
    from asyncstream.cli.progress_bar import ProgressBar  # noqa: PLC0415 - only drawing needs rich

    bar = ProgressBar(sys.stderr)
    with bar.show():
        return session.transfer([pair], config, bar.on_event, web=web)


def _summary(report: TransferReport) -> str:
    rate = rounded(report.bytes / report.seconds) if report.seconds else "0 B"
    others = [
        ("there already", report.count("skipped")),
        ("left at the deadline", report.count("pending")),
        ("failed", report.count("failed")),
    ]
    more = "".join(f", {number:,} {what}" for what, number in others if number)
    more += _markers(report.folder_markers)
    return (
        f"{report.count('copied'):,} of {len(report.files):,} files copied{more}: {rounded(report.bytes)} in "
        f"{report.seconds:.1f} s ({rate}/s), {sum(report.requests.values()):,} requests, {report.engine}"
    )


def _markers(number: int) -> str:
    return f", {number:,} folder markers left out" if number else ""


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise InputError(f"--older-than {text!r} is not an age: write 30m, 12h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _require(*modules: str, extra: str) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'asyncstream[{extra}]'")


def _interrupt(*_: object) -> None:
    """Clean up after SIGTERM as after Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # shells start background processes like this
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # instead of KeyboardInterrupt, because asyncio handles SIGINT itself


def _fail(error: Exception, code: int) -> int:
    say(f"asyncstream: {error}")
    return code


COMMANDS = {
    "copy": copy,
    "ls": list_archive,
    "unzip": unzip,
    "untar": untar,
    "tar": pack,
    "zip": pack,
    "concat": pack,
    "split": split,
    "estimate": run_commands.estimate,
    "plan": run_commands.plan,
    "run": run_commands.run,
    "finish": run_commands.finish,
    "abort": run_commands.abort,
    "enqueue": worker_commands.enqueue,
    "worker": worker_commands.worker,
    "clean": clean,
    "compare": compare,
}

if __name__ == "__main__":
    sys.exit(main())
