"""Masks or tokens to predicates."""

from torchmetrics_sess.relations.geometric import GeometricRelationModel, GeometricRelationsConfig
from torchmetrics_sess.relations.ram import RamRelationConfig, RamRelationModel, RelationHead
from torchmetrics_sess.relations.recall import RelationRecall
from torchmetrics_sess.relations.vocabulary import PREDICATES

__all__ = [
    "PREDICATES",
    "GeometricRelationModel",
    "GeometricRelationsConfig",
    "RamRelationConfig",
    "RamRelationModel",
    "RelationHead",
    "RelationRecall",
]
