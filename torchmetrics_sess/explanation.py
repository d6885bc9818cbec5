"""Why a score is what it is: the loss of one pair of images, shared out among its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from torchmetrics_sess.extractor import SceneGraphExtractor, limit_width, to_device
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.matching import MatchingConfig, MatchResult, match_graphs
from torchmetrics_sess.pool import keep_networks
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.scoring import Scorer
from torchmetrics_sess.stages import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanation:
    """How every object contributes to the loss, 1 - score.

    What two matched objects contribute is the weight of their match times what their similarity lacks to 1; what an
    object without a match contributes is all of its weight; the rest is what the whole-image similarity lacks to 1.
    With the plan ``p``, the similarity ``L`` and the image weight ``w`` of matching::

        1 - score = (1 - w) · (sum p_ij (1 - L_ij) + sum unmatched) + w · (1 - image_score)

    Every term is one row of ``to_rows``. No term is negative, as long as no similarity exceeds 1. Objects are
    numbered from 0, as in the graphs.

    Args:
        preds: scene graph of the image that was judged, with masks.
        target: scene graph of the image that it was compared with, with masks.
        match: how the two match, ``preds`` first.
        image_weight: share of the whole-image similarity in the score.
        preds_image: the image that ``preds`` describes, ``[3, H, W]`` in [0, 1].
        target_image: the image that ``target`` describes.
        signature: names everything that can change the score.
    """

    preds: SceneGraph
    target: SceneGraph
    match: MatchResult
    image_weight: float
    preds_image: Image
    target_image: Image
    signature: str

    @property
    def score(self) -> float:
        """The score, as the metric gives it."""
        return self.match.score

    @property
    def loss(self) -> float:
        """What the score lacks to 1."""
        return 1 - self.match.score

    @cached_property
    def pair_contributions(self) -> Float64[Tensor, "n_preds n_target"]:
        """What every pair of objects contributes to the loss; 0 where they are not matched."""
        return (1 - self.image_weight) * self.match.plan * (1 / self._mass - self.match.similarity)

    @cached_property
    def preds_contributions(self) -> Float64[Tensor, " n_preds"]:
        """What every object of ``preds`` contributes to the loss because it finds no match."""
        return (1 - self.image_weight) * self.match.unmatched_a / self._mass

    @cached_property
    def target_contributions(self) -> Float64[Tensor, " n_target"]:
        """What every object of ``target`` contributes to the loss: by its matches, and as far as it finds none."""
        unmatched = (1 - self.image_weight) * self.match.unmatched_b / self._mass
        return self.pair_contributions.sum(0) + unmatched

    @cached_property
    def target_weights(self) -> Float64[Tensor, " n_target"]:
        """How much of the score rests on every object of ``target``: what it would contribute if all of it were lost.

        Together with what unmatched objects of ``preds`` contribute, and the image weight, they sum to 1.
        """
        return (1 - self.image_weight) * (self.match.plan.sum(0) + self.match.unmatched_b) / self._mass

    @property
    def image_contribution(self) -> float:
        """What the whole-image similarity contributes to the loss."""
        return self.image_weight * (1 - self.match.image_score)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return what contributes to the loss, most first, as rows for a data frame.

        Returns:
            Rows with the keys

            - ``kind``: ``"matched"``, ``"unmatched in target"``, ``"unmatched in preds"`` or ``"whole image"``
            - ``target``, ``preds``: the numbers of the objects, or None
            - ``similarity``: of the two objects after matching, or of the whole images; None without a match
            - ``weight``: how much of the score rests on this row; all weights sum to 1
            - ``target_importance``, ``preds_importance``: of the two objects, or None
            - ``contribution``: to the loss; all contributions sum to ``loss``
        """
        weight = (1 - self.image_weight) / self._mass
        rows = [
            self._row("matched", j, i, self.match.similarity[i, j].item(), weight * self.match.plan[i, j].item())
            | {"contribution": self.pair_contributions[i, j].item()}
            for i, j in self.match.plan.nonzero().tolist()
        ]
        for j in self.match.unmatched_b.nonzero().flatten().tolist():
            lost = weight * self.match.unmatched_b[j].item()
            rows.append(self._row("unmatched in target", j, None, None, lost) | {"contribution": lost})
        for i in self.match.unmatched_a.nonzero().flatten().tolist():
            lost = weight * self.match.unmatched_a[i].item()
            rows.append(self._row("unmatched in preds", None, i, None, lost) | {"contribution": lost})
        whole = self._row("whole image", None, None, self.match.image_score, self.image_weight)
        rows.append(whole | {"contribution": self.image_contribution})
        return sorted(rows, key=lambda row: -row["contribution"])

    def plot(self, *, objects: int = 6, relations: int = 4) -> tuple[Figure, list[Axes]]:
        """Draw both images with their objects, how these match, and what each contributes to the loss.

        Args:
            objects: how many objects to point out in colour: those that contribute most.
            relations: how many relations among these to draw in each image, the most important first.

        Returns:
            The figure and its axes: target, preds, contributions.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        from torchmetrics_sess.drawing.figures import plot_explanation

        return plot_explanation(self, objects=objects, relations=relations)

    @property
    def _mass(self) -> float:
        # 1, but for the rounding of importances.
        return float(self.match.plan.sum() + self.match.unmatched_a.sum() + self.match.unmatched_b.sum())

    def _row(
        self, kind: str, target: int | None, preds: int | None, similarity: float | None, weight: float
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "target": target,
            "preds": preds,
            "similarity": similarity,
            "weight": weight,
            "target_importance": None if target is None else self.target.importance[target].item(),
            "preds_importance": None if preds is None else self.preds.importance[preds].item(),
        }


def explain(
    preds: Tensor,
    target: Tensor,
    preset: str | Path | Preset = "lite",
    *,
    overrides: Mapping[str, Any] | None = None,
    extractor: SceneGraphExtractor | None = None,
    relation_similarity: Float[Tensor, "p p"] | None = None,
    matching: MatchingConfig | None = None,
    data_range: Sequence[float | int] = (0.0, 1.0),
    device: torch.device | str | None = None,
) -> Explanation:
    """Explain the score of one image: which objects of ``target`` are lost in ``preds``, and how much that costs.

    The networks of the preset and device used last stay in memory for the next call.

    Args:
        preds: the image to judge, ``[3, H, W]`` or ``[1, 3, H, W]``; uint8, or floating point within ``data_range``.
        target: the image to compare it with; its size may differ.
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.iterations": 3}``.
        extractor: a ready-made extractor in place of a preset's; needs ``relation_similarity``.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching in place of the preset's; with ``extractor``, the published ones by default.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        device: where the networks work; by default, where ``preds`` is. An ``extractor`` stays where it is: the images
            are brought to ``device``, or to its own if it has one.

    Returns:
        The explanation, on the CPU; its score is the one that the metric gives.

    Raises:
        ValueError: for more than one image, images of a wrong shape or range, or a setting that is unknown or out of
            range.
        TypeError: for images or settings of a wrong type.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import explain
        >>> noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> explanation = explain(noise[0], noise[1])
        >>> rows = explanation.to_rows()
        >>> abs(sum(row["contribution"] for row in rows) - explanation.loss) < 1e-9
        True
    """
    scorer = Scorer(
        preset,
        overrides=overrides,
        extractor=extractor,
        relation_similarity=relation_similarity,
        matching=matching,
        data_range=data_range,
    )
    images = _one_image(preds, "preds", scorer.data_range) + _one_image(target, "target", scorer.data_range)
    place = torch.device(device or images[0].device)
    networks = scorer.networks.on(place) if scorer.preset is None else keep_networks(scorer.preset, place)
    graphs = networks.extractor.extract(to_device(images, place), masks=True)
    known = networks.relation_similarity if relation_similarity is None else relation_similarity
    shown = [limit_width(image, networks.extractor.max_width).cpu() for image in images]
    return Explanation(
        preds=graphs[0],
        target=graphs[1],
        match=match_graphs(graphs[0], graphs[1], known, scorer.matching),
        image_weight=scorer.matching.image_weight,
        preds_image=shown[0],
        target_image=shown[1],
        signature=scorer.signature(),
    )


def _one_image(image: Tensor, name: str, data_range: tuple[float, float]) -> list[Image]:
    images = prepare_images(image if image.ndim == 4 else [image], name, data_range)
    if len(images) > 1:
        raise ValueError(f"`{name}` must be one image, [3, H, W] or [1, 3, H, W], got {len(images)}")
    return images
