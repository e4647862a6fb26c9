"""`make soak`: every engine copies thousands of files of random sizes, without faults and then with faults.

It compares every byte written. Nothing may be left behind, and faults may not cost memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from asyncstream import MiB, S3Prefix, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.lab.s3.faults import mix

ROOT = Path(__file__).parents[2]
MB = 1_000_000
# Extra bytes of peak memory that faults may cost the same copies.
MAX_MORE = 10 * MB


@dataclass(frozen=True, slots=True)
class Soaked:
    """One engine's copies: how the files ended, and what the check found.

    `peak` is in bytes. `wrong` objects have other bytes than their source. `lost` files were reported as
    copied and are not there. `left` counts uploads that were neither completed nor aborted.
    """

    ended: dict[str, int]
    errors: dict[str, int]
    peak: int
    wrong: int
    lost: int
    left: int
    struck: int


def main() -> int:
    """Run the soak; return 1 if anything was wrong, lost or left behind, or memory grew."""
    options = _options()
    sizes = random.Random(options.seed)  # test data
    files = {f"file-{number:05d}": _size(sizes) for number in range(options.operations // len(ENGINES))}
    good = True
    with LabS3() as lab:
        os.environ |= lab.environment()
        lab.create_bucket("sources", keep=True)
        lab.declare("sources", files.items())
        for engine in ENGINES:
            calm = _soak(lab, engine, list(files), [], options.seed)
            stormy = _soak(lab, engine, list(files), mix(options.rate), options.seed)
            good &= _is_good(engine, calm, stormy)
    return 0 if good else 1


def _soak(lab: LabS3, engine: EngineName, keys: list[str], faults: list[Fault], seed: int) -> Soaked:
    destination = f"copies-{engine}-{'stormy' if faults else 'calm'}"
    lab.create_bucket(destination, keep=False)
    lab.set_faults(faults, seed)
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.copying", engine, destination],
        input="\n".join(keys),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    struck = sum(lab.faults_struck())
    lab.set_faults([])
    report = json.loads(done.stdout)
    sources, copies = lab.checksums("sources"), lab.checksums(destination)
    with TransferSession("sequential") as session:
        left = session.stale_uploads(S3Prefix(destination), timedelta(0))
    return Soaked(
        report["ended"],
        report["errors"],
        report["peak"],
        sum(copy[:2] != sources[key][:2] for key, copy in copies.items()),
        sum(key not in copies for key in report["copied"]),
        len(left),
        struck,
    )


def _is_good(engine: EngineName, calm: Soaked, stormy: Soaked) -> bool:
    """Print the results; return whether they are good."""
    for name, soaked in (("no faults", calm), ("faults", stormy)):
        print(  # noqa: T201 - a command line
            f"{engine:10}  {name:9}  {sum(soaked.ended.values()):,} files {soaked.ended}, failed by "
            f"{soaked.errors}, {soaked.struck:,} faults; {soaked.wrong} wrong, {soaked.lost} lost, "
            f"{soaked.left} left behind; peak {soaked.peak / MB:.1f} MB",
            flush=True,
        )
    clean = not any(soaked.wrong + soaked.lost + soaked.left for soaked in (calm, stormy))
    return clean and calm.ended.keys() == {"copied"} and stormy.peak - calm.peak <= MAX_MORE


def _size(sizes: random.Random) -> int:
    """Draw a size: mostly small, for many requests; one in ten has several parts."""
    if sizes.random() < 0.1:
        return sizes.randint(5 * MiB, 16 * MiB)
    return sizes.choice([0, sizes.randint(1, 300_000), sizes.randint(1, 2_000_000)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--operations", type=int, default=5000, help="files copied; default: %(default)s")
    parser.add_argument("--rate", type=float, default=0.05, help="share of faulty requests; default: 0.05")
    parser.add_argument("--seed", type=int, default=0, help="seed of sizes and faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
