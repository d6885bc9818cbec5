"""What ``sess curve`` costs beside the bare scoring of the same pairs.

    python -m benchmarks.cost.curve [FOLDER] [--points 8] [--codecs jpeg webp avif jpeg2000] [--work FOLDER] [--quick]

Of all images in FOLDER (by default, the photographs of scikit-image and scikit-learn), encoded before anything is
measured: ``sess compare`` with PSNR and MS-SSIM, the bare scores, and ``sess curve`` with the same metrics and batches.
The two differ by what curves cost: rates, BD-rates with their intervals, figures, pictures and the page. Each is a
process of its own, and both run at the same time, so that whatever else the machine does hampers both. What counts is
the time of processors, of a process with all its children.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import write_results
from torchmetrics_sess.curves.codecs import parse_codec
from torchmetrics_sess.curves.sources import Encoded

METRICS = "psnr,ms_ssim"
# The most that a curve may cost beside the scores that it is made of.
ALLOWED = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of originals")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif", "jpeg2000"])
    parser.add_argument("--work", type=Path, help="keeps what is encoded, and the results; by default, nothing is kept")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the preset, as for `sess`")
    parser.add_argument("--name", default="curve-cpu", help="of the file of results")
    parser.add_argument("--quick", action="store_true", help="two photographs and two codecs of two points")
    arguments = parser.parse_args()
    codecs, points = (["jpeg", "webp"], 2) if arguments.quick else (arguments.codecs, arguments.points)
    with tempfile.TemporaryDirectory() as folder:
        origin = arguments.folder or save_photographs(Path(folder, "originals"), 2 if arguments.quick else None)
        rows = measure(origin, codecs, points, arguments.work or Path(folder, "work"), arguments.set)
    print(f"{'run':>32} {'pairs':>6} {'wall s':>8} {'CPU s':>8} {'x bare, CPU':>12}")
    for row in rows:
        print(f"{row['run']:>32} {row['pairs']:6d} {row['wall s']:8.1f} {row['cpu s']:8.1f} {row['x bare']:12.3f}")
    if not arguments.quick:
        print(write_results(arguments.name, rows, ["python", "-m", "benchmarks.cost.curve", *sys.argv[1:]]))
        if rows[-1]["x bare"] > ALLOWED:
            sys.exit(f"curves cost {rows[-1]['x bare']:.2f} times the bare scores; {ALLOWED} is allowed")


def save_photographs(folder: Path, count: int | None) -> Path:
    folder.mkdir()
    for name, image in list(load_photographs().items())[:count]:
        image.save(folder / f"{name}.png")
    return folder


def measure(
    origin: Path, codecs: Sequence[str], points: int, out: Path, settings: Sequence[str] = ()
) -> list[dict[str, Any]]:
    pairs, folders = encode(origin, codecs, points, out / "images")
    same = ["--metrics", METRICS, "--overwrite", *(option for setting in settings for option in ("--set", setting))]
    named = [option for codec in codecs for option in ("--codec", codec)]
    # All points of an original go through the networks together, as in `sess curve`.
    batches = ["--batch-size", str(len(folders))]
    bare = ["compare", str(origin), *folders, *same, *batches, "--out", str(out / "bare.csv")]
    curve = ["curve", str(origin), *named, "--points", str(points), *same, "--out", str(out)]
    found = run_beside({"sess compare, bare scores": bare, "sess curve": curve})
    scoring = found["sess compare, bare scores"][1]
    return [
        {"run": name, "pairs": pairs, "wall s": wall, "cpu s": cpu, "x bare": cpu / scoring}
        for name, (wall, cpu) in found.items()
    ]


def encode(origin: Path, codecs: Sequence[str], points: int, folder: Path) -> tuple[int, list[str]]:
    """Encode what is not there yet, and return how many pairs there are, and the folders of the points."""
    encoded = Encoded(folder, origin, [parse_codec(codec, points) for codec in codecs])
    encoded.prepare()
    for pair in encoded.pairs:
        if pair.recon and not Path(pair.recon).exists():
            encoded.read(pair.recon)
    return len(encoded.pairs), list(dict.fromkeys(pair.recon_folder for pair in encoded.pairs))


def run_beside(commands: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Run commands at the same time, and return the seconds that each took, of the clock and of processors."""
    start = time.perf_counter()
    running = {
        subprocess.Popen(
            [sys.executable, "-m", "torchmetrics_sess.cli", *arguments],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SESS_OFFLINE": "1"},
        ).pid: name
        for name, arguments in commands.items()
    }
    took = {}
    while running:
        # Of one child, with its own children.
        pid, status, used = os.wait4(-1, 0)
        name = running.pop(pid)
        if status:
            sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
        took[name] = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return {name: took[name] for name in commands}


if __name__ == "__main__":
    main()
