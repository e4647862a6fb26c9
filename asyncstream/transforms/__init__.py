"""Change bytes between source and destination: compression, lines, records, or a user's function."""

from asyncstream.transforms.codecs import Bunzip2, Gunzip, Unxz, Unzstd, Zstd
from asyncstream.transforms.gzip import Gzip
from asyncstream.transforms.lines import filter_lines, map_lines
from asyncstream.transforms.naming import NAMES, Spec, check_name, factory, name_of, named, with_name
from asyncstream.transforms.protocol import Factory, Held, Transform, chain, pieces
from asyncstream.transforms.records import map_csv, map_json_lines
from asyncstream.transforms.running import Running, held_by

__all__ = [
    "NAMES",
    "Bunzip2",
    "Factory",
    "Gunzip",
    "Gzip",
    "Held",
    "Running",
    "Spec",
    "Transform",
    "Unxz",
    "Unzstd",
    "Zstd",
    "chain",
    "check_name",
    "factory",
    "filter_lines",
    "held_by",
    "map_csv",
    "map_json_lines",
    "map_lines",
    "name_of",
    "named",
    "pieces",
    "with_name",
]
