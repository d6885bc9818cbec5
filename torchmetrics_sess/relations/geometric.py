"""Predicates read off the shapes and positions of masks alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.config import setting
from torchmetrics_sess.geometry import mask_centers
from torchmetrics_sess.relations.vocabulary import PREDICATES
from torchmetrics_sess.stages import Relations, Segmentation

_GRID = 24
_NAMES = ("on", "over", "beside", "in", "enclosing", "attached to", "in front of")
_VOCABULARY = torch.tensor([PREDICATES.index(predicate) for predicate in _NAMES], device="cpu")
_EPSILON = 1e-6
# So many pixels of masks are numbers at once (64 MiB), not all of them.
_PIXELS_AT_ONCE = 2**24


@dataclass(frozen=True)
class GeometricRelationsConfig:
    """Settings of ``GeometricRelationModel``.

    Args:
        min_score: predicates that score less are left out; in [0, 1].
        max_triplets: at most so many relations an image, the strongest first.

    Raises:
        ValueError: for a setting out of its range.
    """

    kind: ClassVar[str] = "geometric"

    min_score: float = setting(0.05, short="min")
    max_triplets: int = setting(99, short="max")

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"`min_score` must lie in [0, 1], got {self.min_score}")
        if self.max_triplets < 1:
            raise ValueError(f"`max_triplets` must be at least 1, got {self.max_triplets}")

    def weights(self) -> list[str]:
        """Return nothing: there are no weights."""
        return []

    def digests(self) -> list[str]:
        """Return nothing: there are no weights."""
        return []

    def build(self, device: torch.device) -> GeometricRelationModel:
        """Return the model; it has no weights, and works on the device of the masks."""
        return GeometricRelationModel(self)


class GeometricRelationModel:
    """Scores seven spatial predicates from masks, and keeps the best one of every ordered pair of objects.

    All scores lie in [0, 1] and change smoothly with the masks, which may be soft and may overlap. They are computed on
    a grid of 24 by 24, from the share of a mask's border that touches another (its lower border for *on*), from which
    of the two lies higher or is larger, from how far their extents overlap, and, for *in front of*, from which is more
    salient.

    Args:
        config: settings.
    """

    def __init__(self, config: GeometricRelationsConfig | None = None) -> None:
        self.config = config or GeometricRelationsConfig()

    def __call__(self, segmentations: list[Segmentation]) -> list[Relations]:
        """Relate the objects of every segmentation; none leaves the graph."""
        return [self._relate(segmentation) for segmentation in segmentations]

    def probabilities(self, segmentation: Segmentation) -> Float[Tensor, "b p k k"]:
        """Return the scores of all 56 predicates between all objects, of which those that are not geometric are 0."""
        return geometric_probabilities(segmentation)

    def _relate(self, segmentation: Segmentation) -> Relations:
        scores = predicate_scores(segmentation)
        best, name = scores.max(dim=1)
        # Without waiting for what the device still has to do.
        vocabulary = _VOCABULARY.to(best.device, non_blocking=True)
        k = best.shape[-1]
        valid = segmentation.valid
        allowed = valid[:, :, None] & valid[:, None, :] & ~torch.eye(k, dtype=torch.bool, device=best.device)
        best = torch.where(allowed, best, 0.0)
        # A stable sort settles ties by position, the same on every device.
        order = best.flatten(1).argsort(dim=1, descending=True, stable=True)[:, : self.config.max_triplets]
        strongest = torch.zeros_like(allowed).flatten(1).scatter_(1, order, True)
        kept = allowed & (best >= self.config.min_score) & strongest.view_as(best)
        return Relations(
            relation=torch.where(kept, vocabulary[name], -1),
            confidence=torch.where(kept, best, -1.0),
            valid=valid,
        )


def predicate_scores(segmentation: Segmentation) -> Float[Tensor, "b p k k"]:
    """Score the seven predicates of ``_NAMES``, in that order, for every ordered pair (subject, object)."""
    masks = _on_grid(segmentation.masks)
    below, beside = _contacts(masks), _contacts(masks.mT)
    lower, upper = _borders(masks)
    left, right = _borders(masks.mT)
    touching = (below + below.mT + beside + beside.mT) / (lower + upper + left + right).clamp_min(_EPSILON)
    touching = touching.clamp(max=1)
    sideways = ((beside + beside.mT) / (left + right).clamp_min(_EPSILON)).clamp(max=1)
    resting = (below / lower.clamp_min(_EPSILON)).clamp(max=1)

    area = masks.sum((2, 3))
    ratio = (area[:, :, None] / area[:, None, :].clamp_min(_EPSILON)).clamp_min(_EPSILON)
    center = mask_centers(masks)
    offset = center[:, None, :, :] - center[:, :, None, :]
    down = offset[..., 0].clamp(min=0)
    across = offset[..., 1].abs()
    inside = touching * (1 - ratio).clamp(min=0)
    scores = {
        "on": resting * (2 * down).clamp(max=1).sqrt(),
        "over": (2 * down).clamp(max=1) * (1 - down).square() * _extent_overlap(masks.amax(2)) * (1 - touching),
        "beside": sideways * (2 * across).clamp(max=1).sqrt() * _extent_overlap(masks.amax(3)),
        "in": inside,
        "enclosing": inside.mT,
        "attached to": touching * torch.minimum(ratio, 1 / ratio),
        "in front of": touching * _more_salient(segmentation, masks),
    }
    return torch.stack([scores[name] for name in _NAMES], dim=1)


def geometric_probabilities(segmentation: Segmentation) -> Float[Tensor, "b p k k"]:
    """Return the scores of all 56 predicates, of which those that are not geometric are 0."""
    scores = predicate_scores(segmentation)
    spread = scores.new_zeros(scores.shape[0], len(PREDICATES), *scores.shape[2:])
    return spread.index_copy_(1, _VOCABULARY.to(scores.device, non_blocking=True), scores)


def _on_grid(masks: Bool[Tensor, "b k h w"] | Float[Tensor, "b k h w"]) -> Float[Tensor, "b k r c"]:
    """Return how much of every cell of the grid lies in each mask."""
    step = max(1, _PIXELS_AT_ONCE // masks[0, 0].numel())
    parts = [functional.adaptive_avg_pool2d(part.float(), (_GRID, _GRID)) for part in masks.flatten(0, 1).split(step)]
    on_grid: Tensor = torch.cat(parts).unflatten(0, masks.shape[:2])
    return on_grid


def _contacts(masks: Float[Tensor, "b k r c"]) -> Float[Tensor, "b k k"]:
    """Sum how much of every mask lies right above every other."""
    return masks[:, :, :-1].flatten(2) @ masks[:, :, 1:].flatten(2).mT


def _borders(masks: Float[Tensor, "b k r c"]) -> tuple[Float[Tensor, "b k 1"], Float[Tensor, "b k 1"]]:
    """Measure the lower and upper border of every mask, without the image's own."""
    above, under = masks[:, :, :-1], masks[:, :, 1:]
    return (above * (1 - under)).sum((2, 3))[..., None], (under * (1 - above)).sum((2, 3))[..., None]


def _extent_overlap(profile: Float[Tensor, "b k n"]) -> Float[Tensor, "b k k"]:
    """Return the share of the shorter extent that two masks have in common along one side."""
    shared = torch.minimum(profile[:, :, None], profile[:, None]).sum(-1)
    length = profile.sum(-1)
    return shared / torch.minimum(length[:, :, None], length[:, None]).clamp_min(_EPSILON)


def _more_salient(segmentation: Segmentation, masks: Float[Tensor, "b k r c"]) -> Float[Tensor, "b k k"] | float:
    if segmentation.saliency is None:
        return 0.0
    saliency = functional.adaptive_avg_pool2d(segmentation.saliency[:, None].float(), (_GRID, _GRID))
    mean = (masks * saliency).sum((2, 3)) / masks.sum((2, 3)).clamp_min(_EPSILON)
    return (mean[:, :, None] - mean[:, None, :]).clamp(min=0)
