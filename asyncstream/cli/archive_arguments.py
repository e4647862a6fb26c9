"""The arguments of `asyncstream ls`, `unzip`, `untar`, `tar`, `zip`, `concat` and `split`."""

import argparse

from asyncstream.cli.transfer_arguments import add_transfer, parse_bytes

UNZIP_HELP = """\
Unpack a ZIP archive: each file in it becomes an object of its own, or a file.

The archive is read by ranges, so it can be of any size, and small files share requests. S3 compares each
object with the CRC32 that the archive has of it. A file that is damaged, encrypted or has a hostile name
(../x, /x) fails, and the others are unpacked. With --if-exists skip a second run unpacks what is missing."""

UNTAR_HELP = """\
Unpack a tar archive: each file in it becomes an object of its own, or a file.

The archive may be compressed by gzip, Zstandard, bzip2 or xz; its first bytes say which. If it is not, only
its headers are read at first, then all files at once, by ranges. A compressed archive is decompressed twice:
once to check it and list its files, once to copy them, one after the other. A file with a hostile name (../x,
/x) fails, and the others are unpacked. If several have one name, the last counts. Links and devices are
left out."""

LS_HELP = """\
List the files in a ZIP or tar archive: their bytes and names.

A name that ends with .tar, .tar.gz, .tgz, .tar.zst, .tar.bz2 or .tar.xz is that of a tar archive."""

_SOURCES_HELP = """\
One SOURCE is a prefix or a folder, and stands for all files in it. Several are objects or files."""
_NAMES_HELP = f"""\
{_SOURCES_HELP}
Names in the archive are those within the prefix or folder, else keys or paths."""

TAR_HELP = f"""\
Pack files into a tar archive. Their bytes stream through this process, so archives can be of any size.

{_NAMES_HELP} With --transform gzip it
is compressed."""

ZIP_HELP = f"""\
Pack files into a ZIP archive, which stores them uncompressed.

{_NAMES_HELP}

Files of over 512 KiB are read twice, unless S3 has their CRC32: an archive has it before their bytes."""

CONCAT_HELP = f"""\
Join files into one, in the order of their keys, or in the order given.

{_SOURCES_HELP}
Files of gzip, zstd, bzip2 and xz can be joined, too: programs read the result as one file."""

SPLIT_HELP = """\
Cut a text at line ends into files of about the same size: part-00000, part-00001 and so on.

The text must not be compressed. Its lines end with a line feed. A file in which no line starts is left out,
so numbers may be missing. With --csv, a file fails that would start or end within quotes. The files are made
at once, and --transform changes each on its own."""


def add_unzip(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream unzip`."""
    _add_read_archive(parser)
    parser.add_argument("destination", metavar="DESTINATION", help="s3://bucket/folder/ or a folder")
    _add_selection(parser)
    parser.add_argument(
        "--gz", action="store_true", help="make gzip files without unpacking: their names get .gz"
    )
    add_transfer(parser)


def add_untar(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream untar`."""
    _add_read_archive(parser)
    parser.add_argument("destination", metavar="DESTINATION", help="s3://bucket/folder/ or a folder")
    _add_select(parser)
    add_transfer(parser)


def add_ls(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream ls`."""
    _add_read_archive(parser)
    _add_selection(parser)
    parser.add_argument("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's")


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream tar` and `zip`."""
    _add_sources(parser)
    add = parser.add_argument
    add("destination", metavar="ARCHIVE", help="s3://bucket/key, a path, or -")
    add(
        "--split",
        type=parse_bytes,
        metavar="SIZE",
        help="write archives of at most this size, named x-00001.tar and so on for an ARCHIVE x.tar",
    )
    _add_pack(parser)
    add_transfer(parser)


def add_concat(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream concat`."""
    _add_sources(parser)
    add = parser.add_argument
    add("destination", metavar="DESTINATION", help="s3://bucket/key, a path, or -")
    add(
        "--separator",
        default="",
        metavar="TEXT",
        help=r"text between two files; \n, \t, \r and \\ stand for line feed, tab, return and backslash",
    )
    add(
        "--header",
        choices=("all", "first"),
        default="all",
        help="first: leave the first line out of all files but the first, as for CSV; default: all",
    )
    _add_pack(parser)
    add_transfer(parser)


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream split`."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="s3://bucket/key or a path")
    add("destination", metavar="DESTINATION", help="s3://bucket/folder/ or a folder")
    add("--ranges", type=int, default=100, metavar="N", help="number of files to make; default: %(default)s")
    add("--header", action="store_true", help="put the first line at the start of each file, as for CSV")
    add("--csv", action="store_true", help="count quotes: a file that would start or end within some fails")
    add_transfer(parser)


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--if-missing",
        choices=("fail", "leave_out"),
        default="fail",
        help="if a source is deleted or overwritten meanwhile: fail (default), or pack those that are left",
    )
    parser.add_argument(
        "--copy-parts", action="store_true", help="have S3 copy what it can of files over 5 MiB itself"
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="s3://bucket/prefix or a folder; or several objects or files",
    )


def _add_read_archive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE", help="s3://bucket/key, a path or a URL")


def _add_select(parser: argparse.ArgumentParser) -> None:
    help_ = 'only files of such names, such as "*.csv"'
    parser.add_argument("--select", default="*", metavar="PATTERN", help=help_)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    _add_select(parser)
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        help="encoding of names that are not UTF-8, such as cp932; default: cp437",
    )
