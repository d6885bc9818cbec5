"""Masks or tokens to predicates. A new relation model is one file here and one line in :data:`RELATIONS`."""

from torchmetrics_sess.relations.geometric import GeometricRelationModel, GeometricRelationsConfig
from torchmetrics_sess.relations.ram import RamRelationModel, RelationHead
from torchmetrics_sess.relations.vocabulary import PREDICATES

__all__ = ["PREDICATES", "GeometricRelationModel", "GeometricRelationsConfig", "RamRelationModel", "RelationHead"]
