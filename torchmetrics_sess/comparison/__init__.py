"""Other measures of how alike two images are, by name: what a semantic score is to be held against.

``docs/comparison.md`` defines each of them.
"""

from torchmetrics_sess.comparison.availability import MissingMetricError
from torchmetrics_sess.comparison.correlation import rank_correlation
from torchmetrics_sess.comparison.metric import ImageMetric, IncomparableWarning
from torchmetrics_sess.comparison.registry import METRICS, available_metrics, image_metrics, missing_metrics
from torchmetrics_sess.comparison.vitscore import ViTScore, vit_score

__all__ = [
    "METRICS",
    "ImageMetric",
    "IncomparableWarning",
    "MissingMetricError",
    "ViTScore",
    "available_metrics",
    "image_metrics",
    "missing_metrics",
    "rank_correlation",
    "vit_score",
]
