"""Does the score agree with what people still recognise? Photographs in the conditions in which people named objects.

    python -m benchmarks.trust.recognition FOLDER [--half tune|report] [--preset lite] [--set name=value]
    python -m benchmarks.trust.recognition --raw TRIALS        computes the table of people from their trials

People were shown photographs for 200 ms and named one of 16 kinds of object (Geirhos et al., *Generalisation in
humans and deep neural networks*, NeurIPS 2018). ``recognition.csv`` holds how often they were right, computed from
the raw trials of the toolbox ``bethgelab/model-vs-human`` (MIT), whose folder ``raw-data`` ``--raw`` takes. A
condition's number is a mean over photographs, so that other photographs in the same condition do: those of FOLDER,
cut square, 224 pixels.

Printed: every condition, then for every measure, with 95 % intervals by bootstrap over photographs,

* Spearman: rank correlation with people over all conditions but turning;
* residual: root mean square distance of people from the best monotone curve of the measure;
* spread: how far apart the kinds of damage lie on the measure where people name 75 % (another photograph is 0,
  identity 1);
* height: the lowest of them;
* distance: mean distance of the measure, on that scale, from people, where they name half or more.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from benchmarks.shared.reporting import FIGURES, write_results, write_scores
from benchmarks.trust.conditions import Condition, load_conditions, mean_amplitude, show, square
from benchmarks.trust.measures import MEASURES, SESS, Measures
from torchmetrics_sess.images import find_images, read_image
from torchmetrics_sess.presets import load_preset

NUMBERS = ("Spearman", "residual", "spread", "height", "distance")
# Kinds that cross 75 %, with the sign by which their degrees get worse.
CROSSING = {"contrast": -1, "low-pass": 1, "uniform-noise": 1}
NAMED = 0.75
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of photographs")
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the preset")
    parser.add_argument("--limit", type=int, help="at most so many photographs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", help="of the files in `results`")
    parser.add_argument("--raw", type=Path, metavar="TRIALS", help="print the table of people from their raw trials")
    arguments = parser.parse_args()
    if arguments.raw:
        csv.writer(sys.stdout).writerows(people_from_trials(arguments.raw))
        return
    if arguments.folder is None:
        parser.error("FOLDER is needed")

    overrides = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in arguments.set)}
    measures = Measures(load_preset(arguments.preset, overrides), torch.device(arguments.device))
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[arguments.half]
    paths = [path for path in find_images(arguments.folder) if ".object" not in path and ".segments" not in path]
    paths = sorted(paths)[start::step][: arguments.limit]
    images = [Image.fromarray(read_image(arguments.folder / path).permute(1, 2, 0).numpy()) for path in paths]
    conditions = load_conditions()
    scores, others = measure(images, conditions, measures)

    console = Console(width=150)
    rows = [
        {"kind": c.kind, "condition": c.name, "people": c.accuracy}
        | {m: float(scale(scores[m].mean(0)[k], others[m])) for m in MEASURES}
        for k, c in enumerate(conditions)
    ]
    console.print(_table(f"{len(images)} photographs; another photograph is 0, identity 1", rows))
    summary = summarise(scores, others, conditions)
    console.print(_table("summary", summary))
    compared = compare(scores, others, conditions)
    if compared:
        console.print(_table("SeSS against other measures, on the same photographs", compared))
    console.print(measures.preset.signature(), soft_wrap=True)
    name = arguments.name or f"recognition-{arguments.preset}"
    extra = {"photographs": len(images), "half": arguments.half, "signature": measures.preset.signature()}
    command = ["python", "-m", "benchmarks.trust.recognition", *sys.argv[1:]]
    print(write_results(name, [*rows, *summary, *compared, extra], command))
    per_photograph = [
        {"photograph": Path(path).stem, "kind": c.kind, "condition": c.name}
        | {m: float(scores[m][i, k]) for m in MEASURES}
        for i, path in enumerate(paths)
        for k, c in enumerate(conditions)
    ]
    print(write_scores(name, per_photograph))
    print(draw(rows, name))


def measure(
    images: Sequence[Image.Image], conditions: Sequence[Condition], measures: Measures
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Return the scores by measure, ``[photographs, conditions]``, and what another photograph scores on average."""
    squares = [square(image) for image in images]
    amplitude = mean_amplitude(squares)
    found: dict[str, list[list[float]]] = {m: [] for m in MEASURES}
    for seed, image in enumerate(track(squares, description="photographs", disable=not sys.stdout.isatty())):
        shown = [show(image, condition.kind, condition.name, amplitude, seed) for condition in conditions]
        values = measures.against(image, shown)
        for m in MEASURES:
            found[m].append([value[m] for value in values])
    pairs = list(itertools.combinations(range(len(squares)), 2))
    chosen = [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))[:150]]
    others = measures.between(squares, chosen)
    return {m: np.array(v) for m, v in found.items()}, {m: float(np.mean([o[m] for o in others])) for m in MEASURES}


def scale(scores: Any, other: float, identity: float = 1.0) -> Any:
    """Move scores to a scale on which another photograph is 0 and identity 1."""
    return (scores - other) / (identity - other)


def summarise(
    scores: Mapping[str, NDArray[np.float64]], others: Mapping[str, float], conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    """Return a row per measure, with intervals."""
    rows = []
    for m, values in scores.items():
        own = numbers(scale(values.mean(0), others[m], _identity(m, values)), conditions)
        drawn = resampled(m, values, others[m], conditions)
        row: dict[str, Any] = {"measure": m}
        for number in NUMBERS:
            row[number] = own[number]
            low, high = np.quantile([each[number] for each in drawn], (0.025, 0.975)) if drawn else (np.nan, np.nan)
            row[f"{number}, interval"] = f"{low:.3f} to {high:.3f}"
        rows.append(row)
    return rows


def compare(
    scores: Mapping[str, NDArray[np.float64]], others: Mapping[str, float], conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    """Return how far the score is from every other measure, by every number, with the interval of the difference.

    The same photographs are drawn for both. ``p`` is twice the share of draws on the other side of 0.
    """
    drawn = {m: resampled(m, values, others[m], conditions) for m, values in scores.items()}
    own = {m: numbers(scale(v.mean(0), others[m], _identity(m, v)), conditions) for m, v in scores.items()}
    rows = []
    for number, m in itertools.product(NUMBERS, MEASURES):
        if m != SESS and drawn[m]:
            differences = np.array([a[number] - b[number] for a, b in zip(drawn[SESS], drawn[m], strict=True)])
            low, high = np.quantile(differences, (0.025, 0.975))
            row: dict[str, Any] = {"lead": number, "over": m, "n": len(scores[m])}
            row |= {"mean": own[SESS][number] - own[m][number], "low": float(low), "high": float(high)}
            row["p"] = float(min(1.0, 2 * min((differences <= 0).mean(), (differences >= 0).mean())))
            rows.append(row)
    return rows


def resampled(
    m: str, values: NDArray[np.float64], other: float, conditions: Sequence[Condition]
) -> list[dict[str, float]]:
    """Return the numbers of a measure for photographs drawn anew, the same draws for every measure."""
    random, n = np.random.default_rng(0), len(values)
    draws = [random.integers(n, size=n) for _ in range(RESAMPLES if n > 1 else 0)]
    return [numbers(scale(values[draw].mean(0), other, _identity(m, values)), conditions) for draw in draws]


def _identity(m: str, values: NDArray[np.float64]) -> float:
    # What identity gives is known of all but PSNR, whose scale ends nowhere: there, ranks alone mean something.
    return 1.0 if m != "PSNR" else float(values.max())


def numbers(means: NDArray[np.float64], conditions: Sequence[Condition]) -> dict[str, float]:
    """Return what sums up how a measure agrees with people, from its mean in every condition on the common scale."""
    kept = [k for k, condition in enumerate(conditions) if condition.kind != "rotation"]
    people = np.array([conditions[k].accuracy for k in kept])
    found = means[kept]
    fitted = IsotonicRegression().fit(found, people).predict(found)
    crossings = [crossing(means, conditions, kind, sign) for kind, sign in CROSSING.items()]
    return {
        "Spearman": float(spearmanr(people, found)[0]),
        "residual": float(np.sqrt(np.mean((people - fitted) ** 2))),
        "spread": max(crossings) - min(crossings),
        "height": min(crossings),
        "distance": float(np.abs(people - found)[people >= 0.5].mean()),
    }


def crossing(means: NDArray[np.float64], conditions: Sequence[Condition], kind: str, sign: int) -> float:
    """Return the measure where people name 75 %, on the straight line between neighbouring degrees of a kind."""
    degrees = [k for k, condition in enumerate(conditions) if condition.kind == kind]
    degrees.sort(key=lambda k: sign * float(conditions[k].name.removeprefix("c")))
    above = max(place for place, k in enumerate(degrees[:-1]) if conditions[k].accuracy >= NAMED)
    first, second = degrees[above], degrees[above + 1]
    gone = (conditions[first].accuracy - NAMED) / (conditions[first].accuracy - conditions[second].accuracy)
    return float(means[first] + gone * (means[second] - means[first]))


def people_from_trials(folder: Path) -> list[tuple[Any, ...]]:
    """Return the rows of ``recognition.csv``, its header first, from the raw trials of the toolbox.

    Args:
        folder: holds a folder per kind, each with a CSV per person: columns ``condition``, ``category`` and
            ``object_response``.

    Raises:
        ValueError: if there are no trials.
    """
    rows: list[tuple[Any, ...]] = [("kind", "condition", "accuracy", "sd_over_people", "trials", "people")]
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        right: dict[str, dict[str, list[bool]]] = {}
        for path in sorted(kind.glob("*subject*.csv")):
            for trial in csv.DictReader(path.read_text().splitlines()):
                hit = trial["object_response"] == trial["category"]
                right.setdefault(trial["condition"], {}).setdefault(path.stem, []).append(hit)
        for condition, people in sorted(right.items()):
            means = [np.mean(hits) for hits in people.values()]
            count = sum(map(len, people.values()))
            deviation = np.std(means, ddof=1) if len(means) > 1 else np.nan
            rows.append((kind.name, condition, f"{np.mean(means):.4f}", f"{deviation:.4f}", count, len(people)))
    if len(rows) == 1:
        raise ValueError(f"`folder` must hold a folder per kind with CSV files of trials in it, got {folder}")
    return rows


def draw(rows: Sequence[Mapping[str, Any]], name: str) -> Path:
    """Draw people against every measure, a line per kind: where they lie on each other, equal recognition is equal."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [m for m in MEASURES if m != "PSNR"]
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 4), sharey=True, layout="constrained")
    kinds = [kind for kind in dict.fromkeys(row["kind"] for row in rows) if kind != "rotation"]
    for axis, m in zip(axes, shown, strict=True):
        axis.plot([0, 1], [1 / 16, 1], color="0.8", linewidth=1)
        for kind, marker in zip(kinds, "osD^v", strict=False):
            points = sorted((row[m], row["people"]) for row in rows if row["kind"] == kind)
            axis.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1.2, label=kind)
        axis.set(title=m, xlabel="score (another photograph 0, identity 1)", xlim=(-0.55, 1.05), ylim=(0, 1))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of objects that people name")
    axes[0].legend(frameon=False, fontsize=8)
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / f"{name}.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


if __name__ == "__main__":
    main()
