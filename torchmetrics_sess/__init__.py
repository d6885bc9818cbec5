"""SeSS, the semantic similarity score of two images, as a TorchMetrics metric."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmetrics_sess.__about__ import __version__

if TYPE_CHECKING:
    from torchmetrics_sess.explanation import Explanation, explain
    from torchmetrics_sess.extractor import SceneGraphExtractor
    from torchmetrics_sess.functional import semantic_similarity_loss, semantic_similarity_score
    from torchmetrics_sess.graph import SceneGraph
    from torchmetrics_sess.loss import SemanticSimilarityLoss
    from torchmetrics_sess.metric import SemanticSimilarityScore
    from torchmetrics_sess.objects import group_objects
    from torchmetrics_sess.presets.pool import release_networks

__all__ = [
    "Explanation",
    "SceneGraph",
    "SceneGraphExtractor",
    "SemanticSimilarityLoss",
    "SemanticSimilarityScore",
    "__version__",
    "explain",
    "group_objects",
    "release_networks",
    "semantic_similarity_loss",
    "semantic_similarity_score",
]

_MODULES = {
    "Explanation": "explanation",
    "SceneGraph": "graph",
    "SceneGraphExtractor": "extractor",
    "SemanticSimilarityLoss": "loss",
    "SemanticSimilarityScore": "metric",
    "explain": "explanation",
    "group_objects": "objects",
    "release_networks": "presets.pool",
    "semantic_similarity_loss": "functional",
    "semantic_similarity_score": "functional",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which `sess --help` should not have to wait for.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
