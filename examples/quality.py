"""What the examples measure of images, and what they leave behind: a table, and a figure of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torchmetrics import MetricCollection
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio

from torchmetrics_sess import SemanticSimilarityScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart; markers tell the curves apart in black and white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.size": 8,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
}


class Quality(NamedTuple):
    """Mean quality of images at one point of a curve."""

    curve: str
    x: float
    psnr: float
    ms_ssim: float
    sess: float


def quality_metrics(preset: str = "lite") -> MetricCollection:
    """Return the three metrics, each the mean over images in [0, 1].

    Args:
        preset: of the semantic similarity score.
    """
    return MetricCollection(
        {
            "psnr": PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3)),
            "ms_ssim": MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0),
            # The originals are the same at every point of every curve; copies of a metric share what it keeps of them.
            "sess": SemanticSimilarityScore(preset, cache_targets=True),
        }
    )


def write_table(qualities: Sequence[Quality], path: Path, curve: str, x: str) -> None:
    """Print a table and write it as CSV.

    Args:
        qualities: its lines.
        path: of the file.
        curve: heading of the first column.
        x: heading of the second column.
    """
    header = (curve, x, "psnr_db", "ms_ssim", "sess")
    rows = [(q.curve, f"{q.x:.4g}", f"{q.psnr:.2f}", f"{q.ms_ssim:.4f}", f"{q.sess:.4f}") for q in qualities]
    first = max(len(row[0]) for row in (header, *rows))
    for name, *numbers in (header, *rows):
        print(f"{name:{first}}", *(f"{number:>8}" for number in numbers))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def plot_curves(
    qualities: Sequence[Quality], x_label: str, x_ticks: Sequence[float], x_scale: Literal["linear", "log"] = "linear"
) -> Figure:
    """Draw PSNR, MS-SSIM and SeSS side by side.

    Args:
        qualities: the points of all curves, in order along each curve.
        x_label: what ``x`` is, with its unit.
        x_ticks: where to mark its axis.
        x_scale: how to divide it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
        panels = figure.subplots(1, 3)
        names = list(dict.fromkeys(quality.curve for quality in qualities))
        for panel, (field, title) in zip(
            panels, {"psnr": "PSNR (dB)", "ms_ssim": "MS-SSIM", "sess": "SeSS"}.items(), strict=True
        ):
            for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
                points = [quality for quality in qualities if quality.curve == name]
                panel.plot(
                    [point.x for point in points],
                    [getattr(point, field) for point in points],
                    color=colour,
                    marker=marker,
                    label=name,
                )
            panel.set(title=title, xlabel=x_label, xscale=x_scale)
            panel.minorticks_off()
            panel.set_xticks(x_ticks, [f"{tick:g}" for tick in x_ticks])
        panels[-1].legend(loc="lower right")
    return figure
