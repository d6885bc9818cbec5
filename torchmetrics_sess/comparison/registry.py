"""Every metric by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchmetrics_sess.comparison import measures
from torchmetrics_sess.comparison.availability import (
    MissingMetricError,
    missing_clip,
    missing_dists,
    missing_lite,
    missing_lpips,
    missing_sess,
)
from torchmetrics_sess.comparison.measures import Context
from torchmetrics_sess.comparison.metric import Compare, ImageMetric
from torchmetrics_sess.comparison.scene_graphs import Stores
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError


def image_metrics(
    names: Iterable[str],
    device: torch.device | str = "cpu",
    *,
    preset: str | Path | Preset = "lite",
    overrides: Mapping[str, Any] | None = None,
    on_missing: Callable[[str, str], None] | None = None,
) -> dict[str, ImageMetric]:
    """Return metrics by name, with their networks loaded; weights that are not on this machine are fetched.

    Those that look at the same scene graphs share them: called one after the other with the same images, they extract
    them once.

    Args:
        names: any of ``METRICS``.
        device: where they work.
        preset: of ``sess`` alone, as for ``torchmetrics_sess.semantic_similarity_score``.
        overrides: settings of that preset to change.
        on_missing: is called with the name of a metric that cannot be had and the reason, and the metric is left out;
            by default, that is an error.

    Raises:
        ValueError: for a name that is none of ``METRICS``, or an unknown preset or setting.
        MissingMetricError: if weights are not here and cannot be had.

    Examples:
        >>> import torch
        >>> metrics = image_metrics(["psnr", "ssim"])
        >>> black, grey = torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.1)
        >>> [round(value, 2) for value in metrics["psnr"]([grey, black], [black, black])]
        [20.0, inf]
    """
    device = torch.device(device)
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in METRICS:
            from torchmetrics_sess.config import nearest

            raise ValueError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    stores = Stores(device)
    chosen = preset if isinstance(preset, Preset) else load_preset(preset, overrides)
    metrics = {}
    for name in names:
        kind = METRICS[name]
        try:
            compare = kind.build(Context(device, stores, chosen))
        except (MissingWeightError, CorruptWeightError, MissingMetricError) as error:
            if on_missing is None:
                raise MissingMetricError(f"{name}: {error}") from error
            on_missing(name, str(error))
            continue
        metrics[name] = ImageMetric(
            name,
            compare,
            device,
            higher_is_better=kind.higher_is_better,
            same_size=kind.same_size,
            smallest=kind.smallest,
        )
    return metrics


def available_metrics(preset: str | Path | Preset = "lite") -> list[str]:
    """Return the names of the metrics that need no download, in the order of ``METRICS``.

    Args:
        preset: of ``sess``.
    """
    missing = missing_metrics(preset)
    return [name for name in METRICS if name not in missing]


def missing_metrics(preset: str | Path | Preset = "lite") -> dict[str, str]:
    """Return the metrics whose weights are not on this machine, with what is missing; nothing is downloaded.

    Args:
        preset: of ``sess``.
    """
    chosen = preset if isinstance(preset, Preset) else load_preset(preset)
    found = {name: kind.missing(chosen) for name, kind in METRICS.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _nothing_missing(preset: Preset) -> str | None:
    return None


@dataclass(frozen=True)
class _Kind:
    title: str
    build: Callable[[Context], Compare]
    missing: Callable[[Preset], str | None] = _nothing_missing
    higher_is_better: bool = True
    same_size: bool = False
    smallest: int = 1


METRICS: dict[str, _Kind] = {
    "sess": _Kind("SeSS", measures.build_sess, missing_sess),
    "psnr": _Kind("PSNR", measures.build_psnr, same_size=True),
    # The window of SSIM is 11 pixels wide; MS-SSIM halves the images four times, and TorchMetrics rounds down.
    "ssim": _Kind("SSIM", measures.build_ssim, same_size=True, smallest=11),
    "ms_ssim": _Kind("MS-SSIM", measures.build_ms_ssim, same_size=True, smallest=176),
    # AlexNet shrinks an image of 30 pixels to nothing.
    "lpips": _Kind("LPIPS", measures.build_lpips, missing_lpips, higher_is_better=False, same_size=True, smallest=31),
    "dists": _Kind("DISTS", measures.build_dists, missing_dists, higher_is_better=False, same_size=True),
    "clip": _Kind("CLIP", measures.build_clip, missing_clip),
    "vitscore": _Kind("ViTScore", measures.build_vitscore, missing_lite),
    "embedding": _Kind("embedding", measures.build_embedding, missing_lite),
}
"""Every metric by name."""
