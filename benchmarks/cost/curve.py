"""What ``sess curve`` costs beside the bare scoring of the same pairs.

    python -m benchmarks.cost.curve [FOLDER] [--points 8] [--codecs jpeg webp avif jpeg2000] [--quick]

Three runs, each a process of its own, of all images in FOLDER (by default, the photographs of scikit-image and
scikit-learn): ``sess curve`` with encoding; ``sess compare`` of the pairs that this left behind, with the same metrics
and batches, the bare scoring; and ``sess curve`` of them once more. The last two differ by what curves cost: rates,
BD-rates with their intervals, figures, pictures and the page.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import write_results

METRICS = "psnr,ms_ssim"
# The most that a curve may cost beside the scores that it is made of.
ALLOWED = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of originals")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif", "jpeg2000"])
    parser.add_argument("--quick", action="store_true", help="two photographs and two codecs of two points")
    arguments = parser.parse_args()
    codecs, points = (["jpeg", "webp"], 2) if arguments.quick else (arguments.codecs, arguments.points)
    with tempfile.TemporaryDirectory() as folder:
        origin = arguments.folder or save_photographs(Path(folder, "originals"), 2 if arguments.quick else None)
        rows = measure(origin, codecs, points, Path(folder, "curve"))
    print(f"{'run':>32} {'pairs':>6} {'wall s':>8} {'CPU s':>8} {'x bare, CPU':>12}")
    for row in rows:
        print(f"{row['run']:>32} {row['pairs']:6d} {row['wall s']:8.1f} {row['cpu s']:8.1f} {row['x bare']:12.2f}")
    if not arguments.quick:
        print(write_results("curve-cpu", rows, ["python", "-m", "benchmarks.cost.curve", *sys.argv[1:]]))
        if rows[-1]["x bare"] > ALLOWED:
            sys.exit(f"curves cost {rows[-1]['x bare']:.2f} times the bare scores; {ALLOWED} is allowed")


def save_photographs(folder: Path, count: int | None) -> Path:
    folder.mkdir()
    for name, image in list(load_photographs().items())[:count]:
        image.save(folder / f"{name}.png")
    return folder


def measure(origin: Path, codecs: Sequence[str], points: int, out: Path) -> list[dict[str, Any]]:
    named = [option for codec in codecs for option in ("--codec", codec)]
    curve = ["curve", str(origin), *named, "--points", str(points), "--metrics", METRICS, "--out", str(out)]
    first = run(curve)
    folders = sorted(str(point) for codec in (out / "images").iterdir() for point in codec.iterdir() if point.is_dir())
    same = ["--batch-size", str(len(folders))]
    bare = run(["compare", str(origin), *folders, "--metrics", METRICS, *same, "--out", str(out / "bare.csv")])
    again = run([*curve, "--overwrite"])
    pairs = len((out / "bare.csv").read_text(encoding="utf-8").splitlines()) - 1
    runs = {"sess curve, with encoding": first, "sess compare, bare scores": bare, "sess curve, encoded before": again}
    return [
        {"run": name, "pairs": pairs, "wall s": wall, "cpu s": cpu, "x bare": cpu / bare[1]}
        for name, (wall, cpu) in runs.items()
    ]


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Run a command, and return the seconds that it took, of the clock and of processors."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "torchmetrics_sess.cli", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SESS_OFFLINE": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    main()
