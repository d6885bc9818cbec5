"""How whole objects of an image relate: all of them, or those at some points to each other and to everything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.extractor import SceneGraphExtractor, limit_width
from torchmetrics_sess.geometry import crisp_masks
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.objects import group_objects, object_graph
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.relations.tokens import mask_iou
from torchmetrics_sess.segmenters import SamSegmenter
from torchmetrics_sess.stages import Image, Relations, Segmentation


@runtime_checkable
class TripletModel(Protocol):
    """A relation model that tells the probability of every triplet, whether or not a graph would keep it."""

    def probabilities(self, segmentation: Segmentation) -> Float[Tensor, "b p k k"]:
        """Return the probability of every (predicate, subject, object)."""
        ...


@dataclass(frozen=True, eq=False)
class PointedGraph:
    """The scene graph of an image in which somebody has pointed at objects.

    Args:
        graph: with masks. All ordered pairs of which one object is pointed at carry their most probable predicate,
            however improbable; the others are as in any scene graph.
        pointed: which object is at each point, in the order of the points; two points may name the same one.
        probabilities: of every (predicate, subject, object), ``[p, n, n]``.
    """

    graph: SceneGraph
    pointed: tuple[int, ...]
    probabilities: Float[Tensor, "p n n"]

    def among(self, count: int = 3) -> list[tuple[int, int, int, float]]:
        """Return how the objects that are pointed at relate to each other.

        Args:
            count: how many predicates of every ordered pair to name, the most probable first.

        Returns:
            (subject, predicate, object, probability), pair by pair, in the order of the points.
        """
        chosen = list(dict.fromkeys(self.pointed))
        found = []
        for subject in chosen:
            for obj in chosen:
                if subject != obj:
                    values, predicates = self.probabilities[:, subject, obj].topk(min(count, len(self.probabilities)))
                    found += [(subject, p, obj, v) for p, v in zip(predicates.tolist(), values.tolist(), strict=True)]
        return found

    def focused(self, min_score: float = 0.05) -> SceneGraph:
        """Return the graph with no other relations than those of objects that are pointed at, for a picture.

        Args:
            min_score: relations that are less probable are left out.
        """
        chosen = torch.zeros(len(self.graph), dtype=torch.bool)
        chosen[list(self.pointed)] = True
        kept = (chosen[:, None] | chosen) & (self.graph.confidence >= min_score)
        return dataclasses.replace(
            self.graph,
            relation=torch.where(kept, self.graph.relation, -1),
            confidence=torch.where(kept, self.graph.confidence, -1.0),
        )

    def around(self, count: int = 10) -> list[tuple[int, int, int, float]]:
        """Return how they relate to all other objects: the most probable predicate of a pair.

        Args:
            count: how many pairs to name at most, the most probable first.

        Returns:
            (subject, predicate, object, probability), of which one is pointed at.
        """
        values, predicates = self.probabilities.max(0)
        chosen = set(self.pointed)
        pairs = [
            (subject, obj)
            for subject in range(len(self.graph))
            for obj in range(len(self.graph))
            if (subject in chosen) != (obj in chosen)
        ]
        pairs.sort(key=lambda pair: -values[pair].item())
        return [(s, int(predicates[s, o]), o, values[s, o].item()) for s, o in pairs[:count]]


def relate_objects(extractor: SceneGraphExtractor, image: Tensor) -> SceneGraph:
    """Return the scene graph of the objects of an image, with masks.

    Of a segmenter that cuts images into pieces, as that of ``lite`` does, pieces that people would call one object are
    joined before the relation model is asked, so that its answers are those of ``relate_points``. Masks of others,
    which may lie in each other, are joined by ``torchmetrics_sess.objects.object_graph``.

    Args:
        extractor: any.
        image: ``[3, H, W]``, uint8 or floating point in [0, 1].

    Examples:
        >>> import torch
        >>> from torchmetrics_sess.presets import load_preset
        >>> graph = relate_objects(load_preset("lite").build("cpu"), torch.rand(3, 64, 96))
        >>> len(graph) < 64
        True
    """
    [prepared] = prepare_images([image], "image")
    if extractor.device is not None:
        prepared = prepared.to(extractor.device)
    with full_precision(prepared.device):
        shown = limit_width(prepared, extractor.max_width)
        segmentation = extractor.segmenter([shown])[0]
        if _is_in_pieces(segmentation):
            segmentation = _join(extractor, shown, segmentation)
        relations = _relate(extractor, segmentation)
        [graph] = extractor.describe([shown], [segmentation], [relations], masks=True)
    return graph if _is_in_pieces(segmentation) else object_graph(graph)


def relate_points(
    extractor: SceneGraphExtractor,
    image: Tensor,
    points: Sequence[tuple[float | int, float | int]],
    *,
    pieces: bool = False,
) -> PointedGraph:
    """Find the objects at some points of an image, and how they relate to each other and to everything else.

    With Segment Anything every point prompts the network, and the mask that it takes for the best of its three is the
    object; found masks that are nearly the same give way to it. With any other segmenter it is the object that most
    belongs to the point, or of several that all have it, the smallest. Of a segmenter that cuts images into pieces, as
    that of ``lite`` does, pieces that people would call one object are joined before.

    Args:
        extractor: with a relation model that tells the probability of every triplet, as those of all presets do.
        image: ``[3, H, W]``, uint8 or floating point in [0, 1].
        points: (x, y) in pixels of the image, from its upper left corner.
        pieces: leave pieces as they are.

    Raises:
        ValueError: if there is no point, one lies outside the image, or no object is there.
        TypeError: if the relation model tells no probabilities.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess.presets import load_preset
        >>> image = torch.rand(3, 64, 96)
        >>> answer = relate_points(load_preset("lite").build("cpu"), image, [(10, 10), (80, 50)], pieces=True)
        >>> len(answer.pointed), len(answer.among(count=2))
        (2, 4)
    """
    model = extractor.relation_model
    if not isinstance(model, TripletModel):
        raise TypeError(f"`extractor` must have a relation model with probabilities, got {type(model).__name__}")
    [prepared] = prepare_images([image], "image")
    height, width = prepared.shape[1:]
    if not points:
        raise ValueError("`points` must name at least one point, got none")
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"`points` must lie in the image, {width} x {height} pixels, got {x:g},{y:g}")
    if extractor.device is not None:
        prepared = prepared.to(extractor.device)
    with full_precision(prepared.device):
        shown = limit_width(prepared, extractor.max_width)
        scale = torch.tensor([shown.shape[2] / width, shown.shape[1] / height])
        places = torch.tensor(points, dtype=torch.float32) * scale
        segmentation, pointed = _segment(extractor, shown, places, pieces)
        relations = _relate(extractor, segmentation)
        probabilities = model.probabilities(segmentation)
        relations = _with_all_of(relations, probabilities, pointed)
        [graph] = extractor.describe([shown], [segmentation], [relations], masks=True)
    # Objects that no relation names have left the graph, and the others have moved up.
    stays = relations.valid[0].cpu()
    moved = stays.cumsum(0) - 1
    kept = probabilities[0].cpu()[:, stays][:, :, stays]
    kept.diagonal(dim1=1, dim2=2).zero_()
    return PointedGraph(graph, tuple(int(moved[index]) for index in pointed), kept)


def _segment(
    extractor: SceneGraphExtractor, image: Image, places: Float[Tensor, "p 2"], pieces: bool
) -> tuple[Segmentation, list[int]]:
    """Segment an image such that the object at every place is there, and say which it is."""
    if isinstance(extractor.segmenter, SamSegmenter):
        return _prompt(extractor.segmenter, image, places)
    segmentation = extractor.segmenter([image])[0]
    if _is_in_pieces(segmentation) and not pieces:
        segmentation = _join(extractor, image, segmentation)
    masks = segmentation.masks[0]
    if masks.dtype != torch.bool:
        masks = crisp_masks(masks, *image.shape[1:])
    return segmentation, [
        _smallest_at(masks & segmentation.valid[0][:, None, None], place) for place in places.tolist()
    ]


def _is_in_pieces(segmentation: Segmentation) -> bool:
    # Objects have edges; how far a pixel belongs to a mask is told of pieces, and of what they are joined to, alone.
    return segmentation.masks.dtype != torch.bool


def _relate(extractor: SceneGraphExtractor, segmentation: Segmentation) -> Relations:
    """Ask how objects relate; where they share out the image, those without any relation stay too."""
    [relations] = extractor.relation_model([segmentation])
    return dataclasses.replace(relations, valid=segmentation.valid) if _is_in_pieces(segmentation) else relations


def _join(extractor: SceneGraphExtractor, image: Image, segmentation: Segmentation) -> Segmentation:
    """Join pieces that people would call one object."""
    k = segmentation.valid.shape[1]
    none = torch.full((1, k, k), -1, device=segmentation.valid.device)
    [graph] = extractor.describe(
        [image], [segmentation], [Relations(none, none.float(), segmentation.valid)], masks=True
    )
    valid = segmentation.valid[0]
    masks = segmentation.masks[:, valid]
    members = functional.one_hot(group_objects(graph)).T.to(masks)
    joined = torch.einsum("ok,bkhw->bohw", members, masks)
    tokens = segmentation.tokens
    if tokens is not None:
        # The mean under the mask of the whole.
        inside = members * masks.sum((2, 3))
        tokens = (inside / inside.sum(1, keepdim=True).clamp_min(1e-12)) @ tokens[0, valid][None].to(inside)
    return dataclasses.replace(
        segmentation, masks=joined, valid=torch.ones_like(joined[:, :, 0, 0], dtype=torch.bool), tokens=tokens
    )


def _prompt(segmenter: SamSegmenter, image: Image, places: Float[Tensor, "p 2"]) -> tuple[Segmentation, list[int]]:
    height, width = image.shape[1:]
    [embedding] = segmenter.encode([image])
    # The network counts from the corner of a pixel, people from its middle.
    asked = segmenter.prompt(embedding, height, width, places + 0.5)
    found = segmenter.find(embedding, height, width)
    if asked.tokens is None or found.tokens is None:
        raise TypeError("`extractor` must have a segmenter that gives tokens")
    for index, place in enumerate(places.tolist()):
        if not bool(asked.masks[0, index].any()):
            raise ValueError(f"`points` must lie on objects, and there is none at {place[0]:g},{place[1]:g}")
    alike = segmenter.config.duplicate_iou_thresh
    # Two points on one object ask for the same mask: the first one stands for both.
    overlaps = mask_iou(asked.masks[0], asked.masks[0])
    first = (overlaps > alike).int().argmax(1)
    distinct = first.unique()
    others = (mask_iou(found.masks[0], asked.masks[0]) <= alike).all(1)
    masks = torch.cat([asked.masks[:, distinct], found.masks[:, others]], dim=1)
    tokens = torch.cat([asked.tokens[:, distinct], found.tokens[:, others]], dim=1)
    valid = torch.ones(masks.shape[:2], dtype=torch.bool, device=masks.device)
    pointed = torch.searchsorted(distinct, first).tolist()
    return dataclasses.replace(found, masks=masks, tokens=tokens, valid=valid), pointed


def _smallest_at(masks: Tensor, place: list[float]) -> int:
    x, y = place
    there = masks[:, int(y), int(x)].nonzero().flatten().tolist()
    if not there:
        raise ValueError(f"`points` must lie on objects, and there is none at {x:g},{y:g}")
    smallest: int = min(there, key=lambda index: int(masks[index].sum()))
    return smallest


def _with_all_of(relations: Relations, probabilities: Float[Tensor, "1 p k k"], pointed: list[int]) -> Relations:
    """Let objects stay that are pointed at, with all of their relations to each other and to those that stay anyway."""
    valid = relations.valid.clone()
    valid[0, pointed] = True
    chosen = torch.zeros_like(valid)
    chosen[0, pointed] = True
    pairs = (chosen[:, :, None] | chosen[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    pairs = pairs & ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    best, predicate = probabilities.max(1)
    return Relations(
        relation=torch.where(pairs, predicate, relations.relation),
        confidence=torch.where(pairs, best.to(relations.confidence), relations.confidence),
        valid=valid,
    )
