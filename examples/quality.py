"""What the examples measure of images, and what they leave behind: a table, and curves of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torchmetrics import MetricCollection
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio

from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.curves import Curve, plot_curves


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


def as_curves(qualities: Sequence[Quality], axis: str) -> list[Curve]:
    """Return the curves that qualities are the points of; ``axis`` is what ``x`` is, ``"bpp"`` or ``"snr"``."""
    by_name: dict[str, list[Quality]] = {}
    for quality in qualities:
        by_name.setdefault(quality.curve, []).append(quality)
    return [
        Curve.of_means(
            name,
            axis,
            [point.x for point in points],
            {metric: [getattr(point, metric) for point in points] for metric in ("sess", "psnr", "ms_ssim")},
        )
        for name, points in by_name.items()
    ]


def save_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draw SeSS, PSNR and MS-SSIM side by side."""
    plot_curves(curves, ("sess", "psnr", "ms_ssim"), use="slides").savefig(path, dpi=110)
