"""Pairs of images in, scores out: what the metric, the function and the commands have in common."""

from torchmetrics_sess.scoring.scorer import (
    Images,
    Reduction,
    Rescale,
    Scorer,
    check_reduction,
    device_of,
    rescale_score,
)

__all__ = [
    "Images",
    "Reduction",
    "Rescale",
    "Scorer",
    "check_reduction",
    "device_of",
    "rescale_score",
]
