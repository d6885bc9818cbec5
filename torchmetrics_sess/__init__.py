"""SeSS, the semantic similarity score of two images, as a TorchMetrics metric."""

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import SceneGraph

__all__ = ["SceneGraph", "SceneGraphExtractor", "__version__"]
