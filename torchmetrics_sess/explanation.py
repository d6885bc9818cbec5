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
from torchmetrics_sess.images import float_images
from torchmetrics_sess.matching import MatchingConfig, MatchResult, match_graphs
from torchmetrics_sess.pool import keep_networks
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.scoring import Rescale, Scorer, rescale_score
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
    numbered from 0, as in the graphs. Where the score has an exponent or a baseline, all terms are stretched by one
    factor, so that they sum to what it lacks.

    Args:
        preds: scene graph of the image that was judged, with masks.
        target: scene graph of the image that it was compared with, with masks.
        match: how the two match, ``preds`` first.
        image_weight: share of the whole-image similarity in the score.
        preds_image: the image that ``preds`` describes, ``[3, H, W]`` in [0, 1].
        target_image: the image that ``target`` describes.
        signature: names everything that can change the score.
        baseline: score of unrelated images, which the rescaled score has at 0; 0 leaves the score as it is.
    """

    preds: SceneGraph
    target: SceneGraph
    match: MatchResult
    image_weight: float
    preds_image: Image
    target_image: Image
    signature: str
    baseline: float = 0.0

    @property
    def score(self) -> float:
        """The score, as the metric gives it."""
        return rescale_score(self.match.score, self.baseline) if self.baseline else self.match.score

    @property
    def loss(self) -> float:
        """What the score lacks to 1; more than that where it would be negative, were rescaled scores not at least 0."""
        return (1 - self.match.score) / (1 - self.baseline)

    @cached_property
    def pair_contributions(self) -> Float64[Tensor, "n_preds n_target"]:
        """What every pair of objects contributes to the loss; 0 where they are not matched."""
        return self._graph_weight * self.match.plan * (1 / self._mass - self.match.similarity)

    @cached_property
    def preds_contributions(self) -> Float64[Tensor, " n_preds"]:
        """What every object of ``preds`` contributes to the loss because it finds no match."""
        return self._graph_weight * self.match.unmatched_a / self._mass

    @cached_property
    def target_contributions(self) -> Float64[Tensor, " n_target"]:
        """What every object of ``target`` contributes to the loss: by its matches, and as far as it finds none."""
        unmatched = self._graph_weight * self.match.unmatched_b / self._mass
        return self.pair_contributions.sum(0) + unmatched

    @cached_property
    def target_weights(self) -> Float64[Tensor, " n_target"]:
        """How much of the score rests on every object of ``target``: what it would contribute if all of it were lost.

        Together with what unmatched objects of ``preds`` contribute, and the weight of the whole image, they sum to 1,
        but for the factor that stretches all terms.
        """
        return self._graph_weight * (self.match.plan.sum(0) + self.match.unmatched_b) / self._mass

    @property
    def image_contribution(self) -> float:
        """What the whole-image similarity contributes to the loss."""
        return self.whole_image_weight * (1 - self.match.image_score)

    @property
    def whole_image_weight(self) -> float:
        """How much of the score rests on the whole-image similarity."""
        return self._scale * self.image_weight

    def to_rows(self) -> list[dict[str, Any]]:
        """Return what contributes to the loss, most first, as rows for a data frame.

        Returns:
            Rows with the keys

            - ``kind``: ``"matched"``, ``"unmatched in target"``, ``"unmatched in preds"`` or ``"whole image"``
            - ``target``, ``preds``: the numbers of the objects, or None
            - ``similarity``: of the two objects after matching, or of the whole images; None without a match
            - ``weight``: how much of the score rests on this row; all sum to 1, but for the factor above
            - ``target_importance``, ``preds_importance``: of the two objects, or None
            - ``contribution``: to the loss; all contributions sum to ``loss``
        """
        weight = self._graph_weight / self._mass
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
        whole = self._row("whole image", None, None, self.match.image_score, self.whole_image_weight)
        rows.append(whole | {"contribution": self.image_contribution})
        return sorted(rows, key=lambda row: -row["contribution"])

    def plot(
        self, *, objects: int = 6, relations: int = 4, names: Sequence[str] | None = None
    ) -> tuple[Figure, list[Axes]]:
        """Draw both images with their objects, how these match, and what each contributes to the loss.

        Args:
            objects: how many objects to point out in colour: those that contribute most.
            relations: how many relations among these to draw in each image, the most important first.
            names: what every object of target is called, if that is known; see ``torchmetrics_sess.naming``.

        Returns:
            The figure and its axes: target, preds, contributions.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        from torchmetrics_sess.drawing.figures import plot_explanation

        return plot_explanation(self, objects=objects, relations=relations, names=names)

    @property
    def _scale(self) -> float:
        """Return what stretches the terms, which sum to what the score lacks before its exponent and baseline."""
        lacking = 1 - ((1 - self.image_weight) * self.match.graph_score + self.image_weight * self.match.image_score)
        stretched = (1 - self.match.score) / lacking if lacking > 0 else 1.0
        return stretched / (1 - self.baseline)

    @property
    def _graph_weight(self) -> float:
        return self._scale * (1 - self.image_weight)

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
    rescale: Rescale = None,
    device: torch.device | str | None = None,
) -> Explanation:
    """Explain the score of one image: which objects of ``target`` are lost in ``preds``, and how much that costs.

    The networks of the preset and device used last stay in memory for the next call, or until
    ``torchmetrics_sess.release_networks``.

    Args:
        preds: the image to judge, ``[3, H, W]`` or ``[1, 3, H, W]``; uint8, or floating point within ``data_range``.
        target: the image to compare it with; its size may differ.
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.iterations": 3}``.
        extractor: a ready-made extractor in place of a preset's; needs ``relation_similarity``.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones. Beside a preset it is
            deprecated: use ``overrides``.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        rescale: ``"baseline"`` for the score on the scale of the metric's argument of that name.
        device: where the networks work; by default, where ``preds`` is. An ``extractor`` stays where it is: the images
            are brought to ``device``, or to its own if it has one.

    Returns:
        The explanation, on the CPU; its score is the one that the metric gives.

    Raises:
        ValueError: for more than one image, images of a wrong shape or range, a setting that is unknown or out of
            range, or ``rescale`` without a baseline for these settings.
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
        rescale=rescale,
    )
    where = torch.device(device or preds.device)
    explanation = explain_pair(scorer, preds, target, where)
    if scorer.preset is not None:
        keep_networks(scorer.preset, where)
    return explanation


def explain_pair(scorer: Scorer, preds: Tensor, target: Tensor, device: torch.device) -> Explanation:
    """Explain the score that a scorer gives to a pair of images; see ``explain``."""
    checked = [_one_image(preds, "preds", scorer), _one_image(target, "target", scorer)]
    images = float_images(checked, scorer.data_range)
    networks = scorer.networks.on(device)
    graphs = networks.extractor.extract(to_device(images, device), masks=True)
    shown = [limit_width(image, networks.extractor.max_width).cpu() for image in images]
    return Explanation(
        preds=graphs[0],
        target=graphs[1],
        match=match_graphs(graphs[0], graphs[1], scorer.predicate_similarity(networks), scorer.matching),
        image_weight=scorer.matching.image_weight,
        preds_image=shown[0],
        target_image=shown[1],
        signature=scorer.signature(),
        baseline=scorer.baseline or 0.0,
    )


def _one_image(image: Tensor, name: str, scorer: Scorer) -> Tensor:
    images = scorer.check(image if image.ndim == 4 else [image], name)
    if len(images) > 1:
        raise ValueError(f"`{name}` must be one image, [3, H, W] or [1, 3, H, W], got {len(images)}")
    [checked] = images
    if checked is None:
        raise ValueError(f"`{name}` must be finite, got NaN or infinite values")
    return checked
