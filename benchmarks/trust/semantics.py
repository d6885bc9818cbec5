"""Does the score follow meaning? Four experiments on photographs, beside measures that know pixels or one vector only.

    python -m benchmarks.trust.semantics [FOLDER] [--preset lite] [--set name=value] [--half tune|report] [--quick]
                                         [--only EXPERIMENT]

1. compression: JPEG, WebP, JPEG 2000 and AVIF, from high quality to low;
2. channel: an analog and a digital transmission over a noisy channel (``channels.py``);
3. generated content: noise, blur, diffusion, and blending into another photograph;
4. transformations: some keep the meaning, some take an object away, some only rearrange (``edits.py``).

Prints a table and draws a figure for each, and sums up by how a measure ranks: whether it falls as an image gets worse
(Spearman, per photograph), whether it tells changed photographs from other photographs (area under the ROC curve), and
whether it puts a change that keeps the meaning above one that does not (share of combinations, per photograph).

The photographs are those of scikit-image and scikit-learn, or all images of a folder; a file ``objects.json`` in it may
say where their objects are (``photographs.py``). The four that ship with this package are smaller copies of four of
them, which is what ``--quick`` uses. ``--half`` takes every other photograph, by name: settings that are tuned on one
half can be judged on the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.shared.photographs import Scene, load_scenes
from benchmarks.shared.reporting import write_results, write_scores
from benchmarks.shared.statistics import leads
from benchmarks.trust.experiments import (
    CODECS,
    DIGITAL,
    EXPERIMENTS,
    LOSS,
    MILD,
    REARRANGED,
    Change,
    Scored,
    changes,
    codecs,
)
from benchmarks.trust.measures import EMBEDDING, SESS, Measures
from benchmarks.trust.ranking import ordering_rate, separation
from benchmarks.trust.semantics_figures import draw
from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.photographs import NAMES, open_photograph
from torchmetrics_sess.presets import load_preset

PIXEL_METRICS = {"ms_ssim": "MS-SSIM", "ssim": "SSIM", "psnr": "PSNR"}
METRICS = (SESS, EMBEDDING, *PIXEL_METRICS.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="images to use, in place of the default photographs")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the preset")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--name", default="semantics", help="of the files in `results`")
    parser.add_argument("--only", choices=EXPERIMENTS, action="append", help="one of the four; repeatable; no figures")
    parser.add_argument(
        "--quick", action="store_true", help="four small photographs, every third degree; nothing is written"
    )
    arguments = parser.parse_args()

    overrides = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in arguments.set)}
    preset, device = load_preset(arguments.preset, overrides), torch.device(arguments.device)
    measures = Measures(preset, device, PIXEL_METRICS)
    scenes = bundled_scenes() if arguments.quick and arguments.folder is None else load_scenes(arguments.folder)
    scenes = half(leave_out_small(scenes), arguments.half)
    experiments = arguments.only or EXPERIMENTS
    console = Console(width=150)
    for codec in set(CODECS) - set(codecs()):
        console.print(f"left out: {codec}, which this Pillow cannot write")

    scored = [
        each
        for name in track(scenes, description="photographs", transient=True, disable=not sys.stdout.isatty())
        for each in score_changes(
            name,
            scenes[name].image,
            [change for change in changes(name, scenes, arguments.quick) if change.experiment in experiments],
            measures,
        )
    ]
    others = other_pairs(scenes, measures)
    rows = means(scored)
    for experiment in experiments:
        console.print(tabulate(experiment, [row for row in rows if row["experiment"] == experiment]))
    summary = summarise(scored, others)
    console.print(tabulate("summary", summary))
    compared = compare(scored)
    if compared:
        console.print(tabulate("SeSS above other measures, paired", compared))
    console.print(f"{len(scenes)} photographs, {len(scored)} changed ones, {len(others)} pairs of different ones")
    console.print(preset.signature(), soft_wrap=True)

    if arguments.quick:
        return
    command = ["python", "-m", "benchmarks.trust.semantics", *sys.argv[1:]]
    print(write_results(arguments.name, rows, command))
    print(write_results(f"{arguments.name}_summary", [*summary, *compared], command))
    print(write_scores(arguments.name, per_photograph(scored)))
    if not arguments.only:
        print(*draw(arguments.name, scored), sep="\n")


def bundled_scenes() -> dict[str, Scene]:
    """Return the photographs that ship with the package: smaller copies, with the objects of the originals."""
    originals = {"cat": "chelsea"}
    scenes = load_scenes()
    return {name: scenes[originals.get(name, name)]._replace(image=open_photograph(name)) for name in NAMES}


def half(scenes: dict[str, Scene], which: str | None) -> dict[str, Scene]:
    """Return every other photograph by name, or all of them."""
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[which]
    return {name: scenes[name] for name in sorted(scenes)[start::step]}


def leave_out_small(scenes: dict[str, Scene]) -> dict[str, Scene]:
    """Leave out what is too small for MS-SSIM, saying so."""
    small = [name for name, scene in scenes.items() if min(scene.image.size) < 176]
    if small:
        print(f"left out, below 176 pixels on a side: {', '.join(small)}")
    return {name: scene for name, scene in scenes.items() if name not in small}


def score_changes(name: str, photograph: Image.Image, changed: list[Change], measures: Measures) -> list[Scored]:
    """Score the changes of one photograph against it."""
    scores = measures.against(photograph, [change.image for change in changed])
    # A figure needs no pixels.
    bare = [dataclasses.replace(change, image=Image.new("RGB", (1, 1))) for change in changed]
    return [Scored(name, *each) for each in zip(bare, scores, strict=True)]


def other_pairs(scenes: dict[str, Scene], measures: Measures, most: int = 150) -> list[dict[str, float]]:
    """Score pairs of different photographs: all of them, or some chosen at random."""
    images = [scene.image for scene in scenes.values()]
    pairs = list(itertools.combinations(range(len(images)), 2))
    chosen = [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))[:most]]
    return measures.between(images, chosen)


def means(scored: list[Scored]) -> list[dict[str, Any]]:
    """Return a row per degree of a change: every measure's mean over the photographs."""
    rows = []
    for key, group in grouped(scored, lambda each: (each.change.experiment, each.change.series, each.change.level)):
        row: dict[str, Any] = dict(zip(("experiment", "series", "level"), key, strict=True))
        row["photographs"] = len(group)
        if row["experiment"] == "compression":
            row["bits per pixel"] = float(np.mean([each.change.at for each in group]))
        rows.append(row | {metric: float(np.mean([each.scores[metric] for each in group])) for metric in METRICS})
    return rows


def summarise(scored: list[Scored], others: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row per summary number, with one column per measure."""
    rows: list[dict[str, Any]] = []
    ladders = [each for each in scored if each.change.experiment != "transformations"]
    for series, group in grouped(ladders, lambda each: each.change.series):
        # This one is all or nothing: between equal images there is nothing to rank.
        if series == DIGITAL:
            continue
        by_photograph = [ladder for _, ladder in grouped(group, lambda each: each.photograph)]
        found = {metric: [monotonicity(ladder, metric) for ladder in by_photograph] for metric in METRICS}
        rows.append(
            {"number": f"Spearman, {series}, mean"} | {metric: float(np.mean(found[metric])) for metric in METRICS}
        )
        rows.append({"number": f"Spearman, {series}, lowest"} | {metric: min(found[metric]) for metric in METRICS})

    kept = [each for each in scored if each.change.series == MILD]
    apart = {metric: separation(values(kept, metric), [pair[metric] for pair in others]) for metric in METRICS}
    rows.append({"number": "AUC, same photograph against another"} | apart)

    for title, changed in not_kept(scored).items():
        for number, of in (("ordering", ordering_rate), ("margin", margin)):
            found_by = {metric: of(by_photograph_both(kept, changed, metric)) for metric in METRICS}
            rows.append({"number": f"{number}, meaning kept above {title}"} | found_by)
    return rows


def compare(scored: list[Scored]) -> list[dict[str, Any]]:
    """Return how far the score is above every other measure in ordering, by photograph, with intervals."""
    kept = [each for each in scored if each.change.series == MILD]
    rows = []
    for title, changed in not_kept(scored).items():
        by_measure = {
            metric: np.array([ordering_rate([pair]) for pair in by_photograph_both(kept, changed, metric)])
            for metric in METRICS
        }
        if len(by_measure[SESS]):
            rows += leads(f"ordering, meaning kept above {title}", by_measure)
    return rows


def not_kept(scored: list[Scored]) -> dict[str, list[Scored]]:
    """Return the changes that do not keep the meaning, by what they do."""
    groups = {"an object taken away": [each for each in scored if each.change.series == LOSS]}
    return groups | dict(
        grouped([each for each in scored if each.change.series == REARRANGED], lambda each: each.change.level)
    )


def per_photograph(scored: list[Scored]) -> list[dict[str, str | float]]:
    """Return a row per photograph and change."""
    return [
        {"photograph": each.photograph, "series": each.change.series, "level": each.change.level}
        | {metric: each.scores[metric] for metric in METRICS}
        for each in scored
    ]


def monotonicity(ladder: list[Scored], metric: str) -> float:
    """Return how well a measure ranks the degrees of a change of one photograph: 1 if it falls with every degree."""
    badness = np.array([each.change.badness for each in ladder], dtype=float)
    return -rank_correlation(badness, np.array(values(ladder, metric)))


def by_photograph_both(first: list[Scored], second: list[Scored], metric: str) -> list[tuple[list[float], list[float]]]:
    """Return the values of a measure in two groups of changes, for every photograph that is in both."""
    groups = [dict(grouped(group, lambda each: each.photograph)) for group in (first, second)]
    return [
        (values(groups[0][name], metric), values(groups[1][name], metric)) for name in groups[0] if name in groups[1]
    ]


def values(scored: Sequence[Scored], metric: str) -> list[float]:
    """Return what a measure says of some changes."""
    return [each.scores[metric] for each in scored]


def margin(pairs: list[tuple[list[float], list[float]]]) -> float:
    """Return the mean distance of two groups of scores, in units of the standard deviation within the first."""
    if not pairs:
        return math.nan
    spread = math.sqrt(float(np.mean([np.var(kept) for kept, _ in pairs])))
    distance = float(np.mean([np.mean(kept) - np.mean(lost) for kept, lost in pairs]))
    return distance / spread if spread > 0 else math.nan


def grouped(scored: Sequence[Scored], key: Callable[[Scored], Any]) -> list[tuple[Any, list[Scored]]]:
    """Group by key, in order of first appearance."""
    groups: dict[Any, list[Scored]] = {}
    for each in scored:
        groups.setdefault(key(each), []).append(each)
    return list(groups.items())


def tabulate(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return rows as a table."""
    columns = [column for column in rows[0] if column != "experiment"]
    table = Table(*columns, title=title)
    for row in rows:
        values = [row[column] for column in columns]
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


if __name__ == "__main__":
    main()
