"""What a score looks like: a photograph at rescaled scores of .9, .7, .5 and .3, and how many people would name it.

    python -m benchmarks.trust.score_scale [--photograph cat] [--out docs/images/score_scale.png]

Blur, noise and loss of contrast are turned up until the mean score of the four photographs of the package comes to each
value; below each picture stands how often people name the object of a photograph in that condition
(``recognition.csv``, between its conditions on a straight line).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.trust.conditions import load_conditions, mean_amplitude, show, square
from benchmarks.trust.measures import SESS, Measures
from torchmetrics_sess.photographs import NAMES, open_photograph
from torchmetrics_sess.presets import load_preset

TARGETS = (0.9, 0.7, 0.5, 0.3)
# Degrees from mild to heavy, as names of conditions.
LADDERS: dict[str, tuple[str, Sequence[float]]] = {
    "low-pass": ("blur of {:g} pixels", (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20)),
    "uniform-noise": ("noise of ±{:g}", (0.02, 0.05, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.45, 0.6, 0.9)),
    "contrast": ("contrast of {:g} %", (50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 2)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photograph", choices=NAMES, default="cat")
    parser.add_argument("--out", type=Path, default=Path("docs/images/score_scale.png"))
    arguments = parser.parse_args()
    preset = load_preset("lite")
    if preset.baseline is None:
        parser.error("the preset has no baseline to rescale by")
    measures = Measures(preset, torch.device("cpu"), {})
    squares = {name: square(open_photograph(name)) for name in NAMES}
    amplitude = mean_amplitude(list(squares.values()))

    rows = []
    for kind, (title, degrees) in LADDERS.items():
        scores = []
        for image in squares.values():
            shown = [show(image, kind, f"{degree:g}", amplitude) for degree in degrees]
            scores.append([values[SESS] for values in measures.against(image, shown)])
        rescaled = ((np.mean(scores, axis=0) - preset.baseline) / (1 - preset.baseline)).clip(0, 1)
        found = [int(np.abs(rescaled - target).argmin()) for target in TARGETS]
        rows.append((kind, title, [(degrees[k], float(rescaled[k])) for k in found]))
    draw(squares[arguments.photograph], rows, amplitude, arguments.out)
    print(arguments.out)


def named(kind: str, degree: float) -> float:
    """Return how often people name the object at a degree of damage."""
    table = [(float(c.name.removeprefix("c")), c.accuracy) for c in load_conditions() if c.kind == kind]
    degrees, accuracies = zip(*sorted(table), strict=True)
    return float(np.interp(degree, degrees, accuracies))


def draw(
    image: Image.Image,
    rows: Sequence[tuple[str, str, list[tuple[float, float]]]],
    amplitude: NDArray[np.float64],
    path: Path,
) -> None:
    """Draw a row per kind of damage, a column per score."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), len(TARGETS), figsize=(9, 8.4), layout="constrained")
    for line, (kind, title, found) in zip(axes, rows, strict=True):
        for axis, (degree, value) in zip(line, found, strict=True):
            axis.imshow(np.asarray(show(image, kind, f"{degree:g}", amplitude)))
            axis.set_title(f"score {value:.2f}", fontsize=11)
            axis.set_xlabel(f"{title.format(degree)}\n{100 * named(kind, degree):.0f} % of people name it", fontsize=9)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
