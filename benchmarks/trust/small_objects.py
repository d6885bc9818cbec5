"""How small may an object be whose loss is still felt, and does a finer look help?

    python -m benchmarks.trust.small_objects CUTOUTS PHOTOGRAPHS [--half report] [--scenes 16]

One cut-out object is pasted into a photograph whose own main object was erased, at several sizes; what is scored is the
photograph without it against the one with it. Printed per size: the object's share of the picture's area, and by how
much the score falls below 1 and in how many scenes by at least .02, for `lite` and for settings that look closer.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.shared.reporting import write_results
from benchmarks.trust.hard_distortions import erase, load_drawn
from benchmarks.trust.measures import EMBEDDING, SESS, Measures
from torchmetrics_sess.presets import load_preset

# Of an object, as a share of the side of the scene.
HEIGHTS = (1 / 32, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4)
FELT = 0.02
SIDE = 768
SETTINGS: dict[str, dict[str, Any]] = {
    "lite": {},
    "518 pixels": {"segmenter.image_size": 518},
    "518 pixels, 144 regions": {"segmenter.image_size": 518, "segmenter.seeds_per_side": 12},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", type=Path, help="images with an alpha channel")
    parser.add_argument("photographs", type=Path, help="in the layout that robustness.py takes")
    parser.add_argument("--half", choices=["tune", "report"], default="report", help="every other photograph, by name")
    parser.add_argument("--scenes", type=int, default=16)
    arguments = parser.parse_args()

    drawn = load_drawn(arguments.photographs)
    backgrounds = [erase(drawn[name]) for name in sorted(drawn)[arguments.half == "report" :: 2]]
    cutouts = sorted(arguments.cutouts.glob("*.png"))
    measures = {name: Measures(load_preset("lite", o), torch.device("cpu"), {}) for name, o in SETTINGS.items()}
    fallen: dict[str, list[list[float]]] = {name: [] for name in (*SETTINGS, EMBEDDING)}
    seconds = dict.fromkeys(SETTINGS, 0.0)
    areas = []
    for index in track(range(arguments.scenes), description="scenes", disable=not sys.stdout.isatty()):
        random = np.random.default_rng(index)
        thing = Image.open(cutouts[random.integers(len(cutouts))]).convert("RGBA")
        background = backgrounds[random.integers(len(backgrounds))].resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        row, column = random.uniform(0.3, 0.7, 2)
        scenes, shares = zip(*(pasted(background, thing, height, row, column) for height in HEIGHTS), strict=True)
        areas.append(shares)
        for name, measure in measures.items():
            start = time.process_time()
            found = measure.against(background, scenes)
            seconds[name] += time.process_time() - start
            fallen[name].append([1 - each[SESS] for each in found])
            if name == "lite":
                fallen[EMBEDDING].append([1 - each[EMBEDDING] for each in found])

    table = Table(
        "object's height", "share of area", *(f"{name}: score falls by" for name in fallen), title="small objects"
    )
    rows = []
    for k, height in enumerate(HEIGHTS):
        row = {"height": height, "area": float(np.mean([shares[k] for shares in areas]))}
        for name, scenes_fallen in fallen.items():
            falls = np.array([each[k] for each in scenes_fallen])
            row |= {f"{name}, median": float(np.median(falls)), f"{name}, felt": float(np.mean(falls >= FELT))}
        rows.append(row)
        cells = [f"{row[f'{name}, median']:.3f} ({row[f'{name}, felt']:.0%} by {FELT})" for name in fallen]
        table.add_row(f"1/{1 / height:.0f}", f"{row['area']:.2%}", *cells)
    Console().print(table)
    images = arguments.scenes * (len(HEIGHTS) + 1)
    rows.append(
        {"scenes": arguments.scenes} | {f"{name}, s an image": taken / images for name, taken in seconds.items()}
    )
    print({name: round(value, 2) for name, value in rows[-1].items()})
    command = ["python", "-m", "benchmarks.trust.small_objects", *sys.argv[1:]]
    print(f"written to {write_results('small_objects', rows, command)}")


def pasted(
    background: Image.Image, thing: Image.Image, height: float, row: float, column: float
) -> tuple[Image.Image, float]:
    """Return a photograph with an object of so much of its height in it, and the share of its area that it covers."""
    scale = height * SIDE / max(thing.size)
    small = thing.resize([max(1, round(side * scale)) for side in thing.size], Image.Resampling.LANCZOS)
    scene = background.copy()
    scene.paste(small, (round(column * SIDE - small.width / 2), round(row * SIDE - small.height / 2)), small)
    return scene, float(np.asarray(small.getchannel("A")).sum() / 255 / SIDE**2)


if __name__ == "__main__":
    main()
