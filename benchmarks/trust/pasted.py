"""Are objects felt? Scenes of two pasted objects, and what the score says when one thing changes.

    python -m benchmarks.trust.pasted CUTOUTS PHOTOGRAPHS [--scenes 40] [--preset lite] [--set name=value]

CUTOUTS holds images with an alpha channel, such as those that ``training/collect.py`` collects; PHOTOGRAPHS is in the
layout that ``robustness.py`` takes: what people drew as the main object is erased first, so that the pasted objects
hold the interest. Moving both together keeps what the picture shows; the other changes do not.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.shared.reporting import write_results, write_scores
from benchmarks.shared.statistics import leads
from benchmarks.trust.hard_distortions import erase, load_drawn
from benchmarks.trust.measures import EMBEDDING, MEASURES, SESS, Measures
from benchmarks.trust.pasted_scenes import KEPT, LOST, pasted_scene
from torchmetrics_sess.presets import load_preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the preset")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", help="of the file in `results`")
    arguments = parser.parse_args()

    overrides = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in arguments.set)}
    measures = Measures(load_preset(arguments.preset, overrides), torch.device(arguments.device))
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[arguments.half]
    drawn = load_drawn(arguments.photographs)
    backgrounds = [erase(drawn[name]) for name in sorted(drawn)[start::step]]
    cutouts = sorted(arguments.cutouts.glob("*.png"))

    found: dict[str, dict[str, list[float]]] = {}
    scenes = []
    for index in track(range(arguments.scenes), description="scenes", disable=not sys.stdout.isatty()):
        random = np.random.default_rng((arguments.seed, index))
        things = [Image.open(cutouts[k]).convert("RGBA") for k in random.choice(len(cutouts), 3, replace=False)]
        changed = pasted_scene(backgrounds[random.integers(len(backgrounds))], things, index)
        scene = changed.pop("scene")
        scenes.append(scene)
        for title, values in zip(changed, measures.against(scene, list(changed.values())), strict=True):
            for measure, value in values.items():
                found.setdefault(title, {}).setdefault(measure, []).append(value)
    pairs = list(itertools.combinations(range(len(scenes)), 2))
    chosen = [pairs[k] for k in np.random.default_rng(0).permutation(len(pairs))[:150]]
    others = measures.between(scenes, chosen)
    unrelated = {m: float(np.mean([each[m] for each in others])) for m in MEASURES}

    rows: list[dict[str, Any]] = []
    for title, scores in found.items():
        row: dict[str, Any] = {"change": title}
        for m in (SESS, EMBEDDING):
            row |= {
                m: float(np.mean(scores[m])),
                f"{m}, rescaled": float((np.mean(scores[m]) - unrelated[m]) / (1 - unrelated[m])),
            }
        if title in LOST:
            row |= {f"below {KEPT}, {m}": float(np.mean(np.array(found[KEPT][m]) > scores[m])) for m in MEASURES}
        rows.append(row)
    compared = [
        row
        for title in LOST
        for row in leads(
            f"{title} below {KEPT}", {m: np.greater(found[KEPT][m], found[title][m]).astype(float) for m in MEASURES}
        )
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns, title=f"{arguments.scenes} scenes; another scene is 0, identity 1, where rescaled")
    for row in rows:
        table.add_row(*(f"{row[c]:.3f}" if isinstance(row.get(c), float) else row.get(c, "") for c in columns))
    console = Console(width=170)
    console.print(table)
    console.print(measures.preset.signature(), soft_wrap=True)
    extra = {"scenes": arguments.scenes, "half": arguments.half, "signature": measures.preset.signature()}
    command = ["python", "-m", "benchmarks.trust.pasted", *sys.argv[1:]]
    name = arguments.name or f"pasted-{arguments.preset}"
    print(write_results(name, [*rows, *compared, extra], command))
    per_scene = [
        {"scene": k, "change": title} | {m: values[m][k] for m in MEASURES}
        for title, values in found.items()
        for k in range(arguments.scenes)
    ]
    print(write_scores(name, per_scene))


if __name__ == "__main__":
    main()
