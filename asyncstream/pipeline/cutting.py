"""Cut a text at line ends: look where lines end, and lay out the ranges."""

from collections.abc import Mapping

from asyncstream.archives.line_layout import (
    check_header,
    check_plain,
    cut_places,
    lay_out_lines,
    ranges_with_lines,
)
from asyncstream.archives.pack_layout import Layout
from asyncstream.archives.pack_members import Member
from asyncstream.errors import NothingToTransfer
from asyncstream.locations import Lines
from asyncstream.pipeline.probes import PROBE, Probes

# Bytes that show how a text is compressed.
_START = 16


async def cut_lines(probes: Probes, lines: Lines) -> Mapping[int, Layout]:
    """Return the layouts of those ranges that are to be made and have lines, by their numbers.

    It looks at the text's first bytes, and for the line ends before and after each range. So what several
    processes make of one version of a text fits together.

    Raises:
        NothingToTransfer: the text is empty.
        SourceChanged: the text has another version or size than `lines` says.
        InputError: the text is compressed, or is in UTF-16 or UTF-32.
        LineTooLong: no line ends within 8 MiB after the place of a cut.
        CutInQuotes: the header of a CSV has a line end within quotes.
    """
    text = await _find(probes, lines)
    if not text.size:
        raise NothingToTransfer(f"{lines.file} is empty")
    start, headers = await probes.read_with_headers(
        text, 0, min(PROBE if lines.header else _START, text.size)
    )
    check_plain(lines.file, start, headers.get("ContentEncoding", ""))
    header = await probes.find_line_end(text, 0, start) if lines.header else 0
    if lines.csv:
        known = start if header <= len(start) else await probes.read(text, 0, header)
        check_header(lines.file, known[:header])
    places = cut_places(header, text.size, lines.ranges, lines.numbers)
    wanted = sorted(set(places.values()))
    ends = dict(
        zip(wanted, await probes.ask_each(lambda at: probes.find_line_end(text, at), wanted), strict=True)
    )
    edges = {number: ends[place] for number, place in places.items()} | {0: header, lines.ranges: text.size}
    return {
        number: lay_out_lines(text, header, range_)
        for number, range_ in ranges_with_lines(edges, lines.numbers).items()
    }


async def _find(probes: Probes, lines: Lines) -> Member:
    """Return the text: the version that the lines name, or the current one."""
    if lines.size is not None:
        return Member(lines.file, "", lines.size, lines.etag, 0, 0, lines.size, True)
    [found] = await probes.find_each((lines.file,))
    return found
