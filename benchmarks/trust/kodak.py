"""Four codecs at eight points each on the 24 Kodak photographs: the figure and the table of `docs/curves.md`.

    python -m benchmarks.trust.kodak FOLDER [--work runs/kodak] [--points 8] [--images 24]

``sess curve`` encodes and scores into ``--work``, where the same command goes on if it is cut off. What is left of it
are ``results/kodak/points.csv``, ``deltas.csv`` and ``paper.pdf``, and
``docs/images/curves.png``, for light and dark pages. Then the numbers are checked in other ways: PSNR and rate of
every file with Pillow and NumPy alone, every BD-rate with the library alone, and a codec that is JPEG with 10 % of
bytes added, which must come out at +10 % by every metric. The table of BD-rates is printed as `docs/curves.md` has it.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.shared.reporting import RESULTS, write_results
from torchmetrics_sess.curves import Curve, delta, read_curves
from torchmetrics_sess.curves.curve import metrics_of, title_of
from torchmetrics_sess.results import read_results

CODECS = ("jpeg", "webp", "avif", "jpeg2000")
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the photographs")
    parser.add_argument("--work", type=Path, default=Path("runs/kodak"), help="where images and results go")
    parser.add_argument("--points", type=int, default=8, help="of each codec")
    parser.add_argument("--images", type=int, default=24, help="so many of the photographs, the first ones")
    arguments = parser.parse_args()
    origin = arguments.work / "originals"
    origin.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.folder.glob("*.png"))[: arguments.images]:
        if not (origin / path.name).exists():
            (origin / path.name).symlink_to(path.resolve())
    named = [option for codec in CODECS for option in ("--codec", codec)]
    curve = ["curve", str(origin), *named, "--points", str(arguments.points), "--out", str(arguments.work / "curve")]
    subprocess.run([sys.executable, "-m", "torchmetrics_sess.cli", *curve], check=True)

    out = arguments.work / "curve"
    curves = read_curves(out / "results.csv")
    rows = [check_files(out / "results.csv"), *check_deltas(curves)]
    for row in rows:
        print(*(f"{key}: {value}" for key, value in row.items()), sep="   ")
    print(table_of_rates(out / "deltas.csv"))
    if arguments.images < 24:
        print("part of the photographs: nothing is kept")
        return
    kept = RESULTS / "kodak"
    kept.mkdir(parents=True, exist_ok=True)
    # Photographs are not ours to give away, and so no picture of `figures` that shows one.
    for path in (out / "points.csv", out / "deltas.csv", out / "figures" / "paper.pdf"):
        shutil.copy(path, kept / path.name)
    if "BENCHMARK_RESULTS" not in os.environ:
        shutil.copy(out / "figures" / "slides.png", IMAGES / "curves.png")
        shutil.copy(out / "figures" / "slides-dark.png", IMAGES / "curves-dark.png")
    print(write_results("kodak", rows, ["python", "-m", "benchmarks.trust.kodak", *sys.argv[1:]]))


def check_files(path: Path) -> dict[str, Any]:
    """Measure rate and PSNR of every file with Pillow and NumPy alone."""
    worst_psnr = worst_rate = 0.0
    rows = read_results(path).rows
    for row in rows:
        with Image.open(row.pair.origin) as original, Image.open(row.pair.recon) as recon:
            before, after = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (original, recon))
        psnr = 10 * np.log10(255**2 / ((before - after) ** 2).mean())
        rate = 8 * Path(row.pair.recon).stat().st_size / before[..., 0].size
        worst_psnr = max(worst_psnr, abs(psnr - row.metrics["psnr"]))
        worst_rate = max(worst_rate, abs(rate - row.metrics["bpp"]))
    return {"files": len(rows), "largest error of PSNR, dB": worst_psnr, "largest error of bpp": worst_rate}


def check_deltas(curves: list[Curve]) -> list[dict[str, Any]]:
    """Ask the library for every BD-rate, and plant a codec that needs 10 % more."""
    import bjontegaard

    anchor = curves[0]
    planted = Curve("jpeg and 10 % of bytes", "bpp", anchor.points, 1.1 * anchor.x, anchor.metrics, anchor.images)
    rows: list[dict[str, Any]] = []
    for test in (*curves[1:], planted):
        for metric in metrics_of(curves):
            found = delta(anchor, test, metric, resamples=0).value
            if found is None:
                rows.append({"codec": test.name, "metric": metric, "BD-rate, %": None, "library": None})
                continue
            means = [column for curve in (anchor, test) for column in (curve.rates, curve.means(metric))]
            expected = float(bjontegaard.bd_rate(*means, method="akima", min_overlap=0))
            rows.append({"codec": test.name, "metric": metric, "BD-rate, %": found, "library": expected})
    return rows


def table_of_rates(path: Path) -> str:
    """Return the BD-rates of ``deltas.csv`` as a table in Markdown: 95 % interval in brackets, then the range."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "rate"]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines = [["BD-rate against JPEG", *map(title_of, metrics)], ["---"] * (len(metrics) + 1)]
    for codec in dict.fromkeys(row["codec"] for row in rows):
        found = {row["metric"]: row for row in rows if row["codec"] == codec}
        lines.append([codec, *(_cell(found[metric]) for metric in metrics)])
    notes = dict.fromkeys(f"{row['codec']} by {title_of(row['metric'])}: {row['note']}" for row in rows if row["note"])
    return "\n".join(["", *(f"| {' | '.join(line)} |" for line in lines), "", *notes])


def _cell(row: dict[str, str]) -> str:
    if not row["value"]:
        return "none"
    interval = f" [{float(row['low']):+.1f}, {float(row['high']):+.1f}]" if row["low"] else ""
    return f"{float(row['value']):+.1f} %{interval}, {float(row['overlap']):.0%}"


if __name__ == "__main__":
    main()
