"""What ``sess curve`` costs beside the bare scoring of the same pairs.

    python -m benchmarks.cost.curve [FOLDER] [--points 8] [--codecs jpeg webp ...] [--scored N] [--work FOLDER]

Of all images in FOLDER (by default, the photographs of scikit-image and scikit-learn), in seconds of processors:

- the bare scores: what ``sess compare`` does for every original and all of its points, with PSNR and MS-SSIM;
- the same as ``sess curve`` does it, which adds rates. The two take turns, original by original, and who is first as
  well, so that whatever else the machine does hampers both;
- everything else: a whole run of ``sess curve`` where every score is there already. Its start is charged to curves.

``--scored N`` scores N of the originals, evenly chosen, and counts each for as many as it stands for; everything else
is measured with all of them. ``--work FOLDER``, such as that of ``benchmarks.trust.kodak``, has or gets what is encoded
and scored before anything is measured.
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
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import write_results
from torchmetrics_sess.cli.compare import measure_by, open_metrics
from torchmetrics_sess.cli.curve import place_on_axis
from torchmetrics_sess.cli.processes import launch
from torchmetrics_sess.cli.run import open_results, run
from torchmetrics_sess.cli.stream import find_scorer, open_device
from torchmetrics_sess.curves.codecs import parse_codec
from torchmetrics_sess.curves.sources import Encoded, Rates
from torchmetrics_sess.images import FilePair, read_image

METRICS = "psnr,ms_ssim"
# The most that a curve may cost beside the scores that it is made of.
ALLOWED = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of originals")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif", "jpeg2000"])
    parser.add_argument("--scored", type=int, metavar="N", help="originals to score; by default, all")
    parser.add_argument("--work", type=Path, help="an output folder of `sess curve`; by default, nothing is kept")
    parser.add_argument("--quick", action="store_true", help="two photographs and two codecs of two points")
    arguments = parser.parse_args()
    codecs, points = (["jpeg", "webp"], 2) if arguments.quick else (arguments.codecs, arguments.points)
    with tempfile.TemporaryDirectory() as folder:
        origin = arguments.folder or save_photographs(Path(folder, "originals"), 2 if arguments.quick else None)
        out = arguments.work or Path(folder, "curve")
        encoded = Encoded(out / "images", origin, [parse_codec(codec, points) for codec in codecs])
        rest = measure_rest(origin, codecs, points, out, len(encoded.pairs))
        rows = measure(encoded, Path(folder), arguments.scored, rest)
    print(f"{'':>36} {'pairs':>6} {'CPU s':>8} {'x bare':>7}")
    for row in rows:
        print(f"{row['what']:>36} {row['pairs']:6d} {row['cpu s']:8.1f} {row['x bare']:7.3f}")
    if not arguments.quick:
        print(write_results("curve-cpu", rows, ["python", "-m", "benchmarks.cost.curve", *sys.argv[1:]]))
        if rows[-1]["x bare"] > ALLOWED:
            sys.exit(f"curves cost {rows[-1]['x bare']:.2f} times the bare scores; {ALLOWED} is allowed")


def save_photographs(folder: Path, count: int | None) -> Path:
    folder.mkdir()
    for name, image in list(load_photographs().items())[:count]:
        image.save(folder / f"{name}.png")
    return folder


def measure_rest(origin: Path, codecs: Sequence[str], points: int, out: Path, pairs: int) -> float:
    """Encode and score what is not there yet, then return the seconds of ``sess curve`` with all scores there."""
    named = [option for codec in codecs for option in ("--codec", codec)]
    command = ["curve", str(origin), *named, "--points", str(points), "--metrics", METRICS, "--out", str(out)]
    results = out / "results.csv"
    is_scored = results.exists() and len(results.read_text(encoding="utf-8").splitlines()) == pairs + 1
    used = []
    for _ in range(1 if is_scored else 2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "torchmetrics_sess.cli", *command],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SESS_OFFLINE": "1"},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return used[-1]


def measure(encoded: Encoded, folder: Path, scored: int | None, rest: float) -> list[dict[str, Any]]:
    by_origin: dict[str, list[FilePair]] = {}
    for pair in encoded.pairs:
        by_origin.setdefault(pair.origin, []).append(pair)
    originals = list(by_origin.values())
    step = len(originals) / (scored or len(originals))
    chosen = [originals[int(step * index)] for index in range(scored or len(originals))]
    processes = launch(open_device("cpu"), 1)
    beside = open_metrics(METRICS, processes)
    measures = {name: measure_by(metric, processes.device) for name, metric in beside.items()}
    # As every run of its own has it: nothing is kept from one to the other.
    scorers = {way: find_scorer("lite", {}) for way in ("bare", "curve")}
    rates = partial(place_on_axis, Rates("bpp", None, encoded))

    def score(way: str, pairs: Sequence[FilePair], path: Path) -> float:
        scorer, is_curve = scorers[way], way == "curve"
        columns = ["bpp", *beside] if is_curve else list(beside)
        start = time.process_time()
        with open_results(path, scorer.signature(), processes, columns=columns) as file:
            rows = run(
                pairs,
                scorer,
                processes,
                results=file,
                batch_size=len(pairs),
                measures=measures,
                read=encoded.read if is_curve else read_image,
                complete=rates if is_curve else None,
            )
            if any(row.score is None for row in rows):
                sys.exit(f"a pair of {pairs[0].name} could not be scored")
        return time.process_time() - start

    # Networks and kernels are loaded.
    score("bare", chosen[0][:2], folder / "warm.csv")
    spent = dict.fromkeys(scorers, 0.0)
    for index, pairs in enumerate(chosen):
        for way in list(scorers) if index % 2 else list(scorers)[::-1]:
            spent[way] += score(way, pairs, folder / f"{index}-{way}.csv")
        print(f"{pairs[0].name}: {spent['bare']:.1f} s bare, {spent['curve']:.1f} s for curves", file=sys.stderr)
    count, share = len(encoded.pairs), len(originals) / len(chosen)
    bare = share * spent["bare"]
    found = {
        "bare scores": bare,
        "scores and rates of sess curve": share * spent["curve"],
        "everything else of sess curve": rest,
        "sess curve": share * spent["curve"] + rest,
    }
    scored_pairs = sum(map(len, chosen))
    return [
        {"what": what, "pairs": count, "scored": scored_pairs, "cpu s": seconds, "x bare": seconds / bare}
        for what, seconds in found.items()
    ]


if __name__ == "__main__":
    main()
