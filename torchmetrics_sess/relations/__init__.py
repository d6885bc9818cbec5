"""Masks or tokens to predicates."""

from typing import TYPE_CHECKING, Any

from torchmetrics_sess.relations.geometric import GeometricRelationModel, GeometricRelationsConfig
from torchmetrics_sess.relations.ram import RamRelationConfig, RamRelationModel, RelationHead
from torchmetrics_sess.relations.vocabulary import PREDICATES

if TYPE_CHECKING:
    from torchmetrics_sess.relations.recall import RelationRecall

__all__ = [
    "PREDICATES",
    "GeometricRelationModel",
    "GeometricRelationsConfig",
    "RamRelationConfig",
    "RamRelationModel",
    "RelationHead",
    "RelationRecall",
]


def __getattr__(name: str) -> Any:
    # TorchMetrics brings matplotlib along, which those who only relate objects should not have to wait for.
    if name == "RelationRecall":
        from torchmetrics_sess.relations.recall import RelationRecall

        return RelationRecall
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
