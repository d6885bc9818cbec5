"""Objects of an image out of the pieces that a segmenter cuts it into, as a person would tell them apart.

No score depends on them: they are for what is shown to people.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.geometry import mask_centers
from torchmetrics_sess.graph import SceneGraph


class SameObject(NamedTuple):
    """When two regions belong to one object.

    The probability that people count both as one segment is the logistic function of
    ``cosine * (cosine of their features) + distance * (distance of their centres) + offset``.

    Args:
        cosine: weight of the cosine.
        distance: weight of the distance, with a side of the image as unit.
        offset: what is added.
        least: groups of regions join as long as the probability, averaged over their pairs, is at least this.
    """

    cosine: float
    distance: float
    offset: float
    least: float


# Those of `lite`, as `python -m benchmarks.calibration.objects` measures them.
SAME_OBJECT = SameObject(cosine=4.78, distance=-0.52, offset=-2.20, least=0.30)

# Looking at some pixels of every mask says as much as looking at all of them.
_SIDE, _FINE_SIDE = 32, 192
# So much of a part lies in its whole, and so much of an image a whole covers at most: more is a scene, no object.
_INSIDE, _WHOLE = 0.9, 0.5


def group_objects(graph: SceneGraph) -> Int64[Tensor, " n"]:
    """Tell which object each node of a scene graph belongs to.

    - **Regions**, which share out an image so that each of its pixels lies in exactly one, are joined by average
      linkage, as long as it is probable that people would count them as one segment. That probability is a logistic
      function of the cosine of their features and the distance of their centres, calibrated for ``lite``.
    - **Masks that overlap**, as those of Segment Anything do, are objects with parts: what lies in a larger mask is
      part of the largest one that it lies in, unless that covers more than half of the image.

    Args:
        graph: with masks.

    Returns:
        The number of every node's object, from 0 without gaps, the most important object first.

    Raises:
        ValueError: if the graph has no masks.

    Source:
        Sokal and Michener, *A Statistical Method for Evaluating Systematic Relationships*, 1958, for average linkage.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import SceneGraph, group_objects
        >>> graph = SceneGraph(
        ...     features=torch.tensor([[1.0, 0.0], [-0.6, 0.8], [0.8, 0.6]]),
        ...     centers=torch.tensor([[0.5, 0.1], [0.5, 0.5], [0.5, 0.9]]),
        ...     importance=torch.tensor([0.2, 0.6, 0.2]),
        ...     relation=torch.full((3, 3), -1),
        ...     confidence=torch.full((3, 3), -1.0),
        ...     image_feature=torch.ones(1),
        ...     masks=torch.eye(3, dtype=torch.bool)[:, None],
        ... )
        >>> group_objects(graph)
        tensor([1, 0, 1])
    """
    if graph.masks is None:
        raise ValueError("`graph` must have masks to be grouped into objects: extract it with `masks=True`")
    pixels = _some_pixels(graph.masks, _SIDE)
    shared_out = bool((pixels.sum(0) == 1).all())
    labels = join_regions(graph) if shared_out else _wholes(_some_pixels(graph.masks, _FINE_SIDE))
    return _most_important_first(labels, graph.importance)


def object_graph(graph: SceneGraph, objects: Int64[Tensor, " n"] | None = None) -> SceneGraph:
    """Return the scene graph whose nodes are objects.

    Masks are united, importances summed, and features averaged by importance. Two objects relate by the predicate that
    most of the confidence between their nodes is for, weighted by importance; its own is the highest among them.

    Args:
        graph: with masks.
        objects: which object each node belongs to, from 0 without gaps; by default, as ``group_objects`` says.

    Raises:
        ValueError: if the graph has no masks.
    """
    if graph.masks is None:
        raise ValueError("`graph` must have masks to be grouped into objects: extract it with `masks=True`")
    objects = group_objects(graph) if objects is None else objects
    count = int(objects.max()) + 1
    members = functional.one_hot(objects, count).T
    features = members.to(graph.features.dtype) @ (graph.features * graph.importance[:, None].to(graph.features.dtype))
    masks = torch.stack([graph.masks[objects == number].any(0) for number in range(count)])
    inside = members.double() * graph.importance.double()
    centers = inside @ graph.centers.double() / inside.sum(1, keepdim=True)
    has_pixels = masks.flatten(1).any(1)[:, None]
    relation, confidence = _relations(graph, objects, count)
    return SceneGraph(
        features=functional.normalize(features, dim=-1),
        centers=torch.where(has_pixels, mask_centers(masks), centers).to(graph.centers.dtype),
        importance=inside.sum(1).to(graph.importance.dtype),
        relation=relation,
        confidence=confidence,
        image_feature=graph.image_feature,
        masks=masks,
    )


def _some_pixels(masks: Bool[Tensor, "n h w"], side: int) -> Bool[Tensor, "n pixels"]:
    rows, columns = (
        ((torch.arange(min(side, full), device=masks.device) + 0.5) * full / min(side, full)).long()
        for full in masks.shape[1:]
    )
    return masks[:, rows[:, None], columns].flatten(1)


def join_regions(graph: SceneGraph, same: SameObject = SAME_OBJECT) -> Int64[Tensor, " n"]:
    """Join regions by average linkage, and return a label for each.

    Args:
        graph: whose nodes are regions; masks are not looked at.
        same: how probable it is that two belong to one object, and how probable it has to be.
    """
    if len(graph) == 1:
        return torch.zeros(1, dtype=torch.int64)
    features = functional.normalize(graph.features.double(), dim=-1).cpu()
    pairs = torch.triu_indices(len(graph), len(graph), 1)
    cosine = (features @ features.T)[pairs[0], pairs[1]].numpy()
    # Only whoever looks at objects waits for scipy.
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist
    from scipy.special import expit

    distance = pdist(graph.centers.double().cpu().numpy())
    probability = expit(same.cosine * cosine + same.distance * distance + same.offset)
    return torch.from_numpy(fcluster(linkage(1 - probability, "average"), 1 - same.least, "distance")).long()


def _wholes(pixels: Bool[Tensor, "n pixels"]) -> Int64[Tensor, " n"]:
    """Return for every mask the largest one that it lies in, or itself."""
    numbers = pixels.float()
    area = numbers.sum(1)
    inside = numbers @ numbers.T >= _INSIDE * area[:, None]
    # Larger first; of equal ones, the first.
    order = torch.argsort(area, descending=True, stable=True).tolist()
    labels = torch.arange(len(pixels))
    for place, part in enumerate(order):
        if 0 < area[part] <= _WHOLE * pixels.shape[1]:
            wholes = [each for each in order[:place] if inside[part, each] and area[each] <= _WHOLE * pixels.shape[1]]
            labels[part] = labels[wholes[0]] if wholes else part
    return labels


def _most_important_first(labels: Int64[Tensor, " n"], importance: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    _, labels = labels.unique(return_inverse=True)
    # Of equally important ones, that of the first node comes first.
    total = functional.one_hot(labels).T.double() @ importance.cpu().double()
    first = [int((labels == label).nonzero()[0]) for label in range(len(total))]
    order = sorted(range(len(total)), key=lambda label: (-float(total[label]), first[label]))
    rank = torch.empty(len(order), dtype=torch.int64)
    rank[order] = torch.arange(len(order))
    return rank[labels]


def _relations(
    graph: SceneGraph, objects: Int64[Tensor, " n"], count: int
) -> tuple[Int64[Tensor, "k k"], Float[Tensor, "k k"]]:
    weight: dict[tuple[int, int], dict[int, float]] = {}
    highest: dict[tuple[tuple[int, int], int], float] = {}
    belongs, importance, confidences = objects.tolist(), graph.importance.tolist(), graph.confidence.tolist()
    for subject, predicate, obj in graph.triplets():
        pair = belongs[subject], belongs[obj]
        if pair[0] == pair[1]:
            continue
        votes = weight.setdefault(pair, {})
        confidence = confidences[subject][obj]
        votes[predicate] = votes.get(predicate, 0.0) + confidence * importance[subject] * importance[obj]
        highest[pair, predicate] = max(highest.get((pair, predicate), 0.0), confidence)
    relation = torch.full((count, count), -1)
    confidence_of = torch.full((count, count), -1.0, dtype=graph.confidence.dtype)
    for pair, votes in weight.items():
        predicate = max(votes, key=lambda each: (votes[each], -each))
        relation[pair], confidence_of[pair] = predicate, highest[pair, predicate]
    return relation.to(graph.relation.dtype), confidence_of
