"""Why a score is what it is: the loss of one pair of images, shared out among its objects and their pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.extractor import SceneGraphExtractor, limit_width, to_device
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import float_images
from torchmetrics_sess.matching import MatchingConfig, MatchResult, match_graphs
from torchmetrics_sess.objects import group_objects, object_graph
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.presets.pool import keep_networks
from torchmetrics_sess.scoring import Rescale, Scorer, rescale_score
from torchmetrics_sess.stages import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanation:
    """How every object contributes to the loss, 1 - score.

    The score matches the nodes of two scene graphs. What two matched nodes contribute is the weight of their match
    times what their similarity lacks to 1; what a node without a match contributes is all of its weight; the rest is
    what the whole-image similarity lacks to 1.
    With the plan ``p``, the similarity ``L`` and the image weight ``w`` of matching::

        1 - score = (1 - w) · (sum p_ij (1 - L_ij) + sum unmatched) + w · (1 - image_score)

    No term is negative, as long as no similarity exceeds 1. Weights sum to 1. Where the score has an exponent or a
    baseline, all contributions are stretched by one factor, so that they sum to what it lacks; weights are not.

    Nodes may be pieces of what a person would call an object: ``objects`` is the same explanation with the terms of all
    pieces of an object summed up, and what ``plot``, ``to_rows`` and ``in_words`` speak of.

    Args:
        preds: scene graph of the image that was judged, with masks.
        target: scene graph of the image that it was compared with, with masks.
        match: how the two match, ``preds`` first.
        image_weight: share of the whole-image similarity in the score.
        preds_image: the image that ``preds`` describes, ``[3, H, W]`` in [0, 1].
        target_image: the image that ``target`` describes.
        signature: names everything that can change the score.
        baseline: score of unrelated images, which the rescaled score has at 0; 0 leaves the score as it is.
        grouping: where the nodes are objects, which of them every piece of ``preds`` and of ``target`` belongs to; None
            where they are pieces.
    """

    preds: SceneGraph
    target: SceneGraph
    match: MatchResult
    image_weight: float
    preds_image: Image
    target_image: Image
    signature: str
    baseline: float = 0.0
    grouping: tuple[Int64[Tensor, " preds_pieces"], Int64[Tensor, " target_pieces"]] | None = None

    @cached_property
    def objects(self) -> Explanation:
        """The same with the objects of ``group_objects`` as nodes: every sum over pieces stays what it is.

        The similarity of two objects is the mean over their pieces, weighted by what is matched between these or, where
        nothing is, by their importances.
        """
        return self if self.grouping is not None else _sum_up(self)

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
        return self._scale * (1 - self.image_weight) * self.match.plan * (1 / self._mass - self.match.similarity)

    @cached_property
    def preds_contributions(self) -> Float64[Tensor, " n_preds"]:
        """What every object of ``preds`` contributes to the loss because it finds no match."""
        return self._scale * self._node_weight * self.match.unmatched_a

    @cached_property
    def target_contributions(self) -> Float64[Tensor, " n_target"]:
        """What every object of ``target`` contributes to the loss: by its matches, and as far as it finds none."""
        return self.pair_contributions.sum(0) + self._scale * self._node_weight * self.match.unmatched_b

    @cached_property
    def target_weights(self) -> Float64[Tensor, " n_target"]:
        """How much of the score rests on every object of ``target``, as a share.

        Together with ``preds_weights`` and the weight of the whole image, they sum to 1.
        """
        return self._node_weight * (self.match.plan.sum(0) + self.match.unmatched_b)

    @cached_property
    def preds_weights(self) -> Float64[Tensor, " n_preds"]:
        """How much of the score rests on what finds no match of every object of ``preds``, as a share."""
        return self._node_weight * self.match.unmatched_a

    @cached_property
    def target_kept(self) -> Float64[Tensor, " n_target"]:
        """How much of every object of ``target`` is found in ``preds``: 1 for all of it, 0 for nothing."""
        return self._kept(0, self.match.unmatched_b)

    @cached_property
    def preds_kept(self) -> Float64[Tensor, " n_preds"]:
        """How much of every object of ``preds`` is found in ``target``."""
        return self._kept(1, self.match.unmatched_a)

    @property
    def image_contribution(self) -> float:
        """What the whole-image similarity contributes to the loss."""
        return self._scale * self.image_weight * (1 - self.match.image_score)

    @property
    def whole_image_weight(self) -> float:
        """How much of the score rests on the whole-image similarity, as a share."""
        return self.image_weight

    def to_rows(self, *, pieces: bool = False) -> list[dict[str, Any]]:
        """Return what contributes to the loss, most first, as rows for a data frame.

        Args:
            pieces: whether rows are of the nodes of both graphs, and not of the objects that these belong to.

        Returns:
            Rows with the keys

            - ``kind``: ``"matched"``, ``"unmatched in target"``, ``"unmatched in preds"`` or ``"whole image"``
            - ``target``, ``preds``: the numbers of the objects, or None; from 0, the most important one first
            - ``similarity``: of the two objects after matching, or of the whole images; None without a match
            - ``weight``: how much of the score rests on this row, as a share; all weights sum to 1
            - ``target_importance``, ``preds_importance``: of the two objects, or None
            - ``contribution``: to the loss; all contributions sum to ``loss``
        """
        if not pieces and self.grouping is None:
            return self.objects.to_rows()
        rows = [
            self._row("matched", j, i, self.match.similarity[i, j].item(), self.match.plan[i, j].item())
            | {"contribution": self.pair_contributions[i, j].item()}
            for i, j in self.match.plan.nonzero().tolist()
        ]
        for j in self.match.unmatched_b.nonzero().flatten().tolist():
            row = self._row("unmatched in target", j, None, None, self.match.unmatched_b[j].item())
            rows.append(row | {"contribution": self._scale * row["weight"]})
        for i in self.match.unmatched_a.nonzero().flatten().tolist():
            row = self._row("unmatched in preds", None, i, None, self.match.unmatched_a[i].item())
            rows.append(row | {"contribution": self._scale * row["weight"]})
        whole = self._row("whole image", None, None, self.match.image_score, 0.0)
        rows.append(whole | {"weight": self.whole_image_weight, "contribution": self.image_contribution})
        return sorted(rows, key=lambda row: -row["contribution"])

    def in_words(self, names: Sequence[str] | None = None) -> str:
        """Return what is lost and what is kept, as sentences about objects.

        For example *Lost: object 1, on the left (62 % of the loss). Kept: object 0, in the middle.* An object
        is lost if less than half of it is found, and kept if nine tenths are.

        Args:
            names: what every object of target is called, if that is known.
        """
        return describe_loss(self.objects, names)

    def plot(
        self, *, objects: int = 6, relations: int = 0, names: Sequence[str] | None = None, pieces: bool = False
    ) -> tuple[Figure, list[Axes]]:
        """Draw both images with their objects, how these match, and what each contributes to the loss.

        Args:
            objects: how many objects to point out in colour: those that contribute most.
            relations: how many relations among these to draw in each image, the most important first.
            names: what every object of target is called, if that is known; see ``torchmetrics_sess.naming``.
            pieces: whether to draw the nodes of both graphs, and not the objects that these belong to.

        Returns:
            The figure and its axes: target, preds, contributions.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
            TypeError: if ``objects`` or ``relations`` is no whole number.
            ValueError: if one of them is negative.
        """
        from torchmetrics_sess.drawing.figures import plot_explanation

        shown = self if pieces else self.objects
        return plot_explanation(shown, objects=objects, relations=relations, names=names)

    @property
    def _scale(self) -> float:
        """Return what stretches contributions: they sum to what the score lacks before its exponent and baseline."""
        lacking = 1 - ((1 - self.image_weight) * self.match.graph_score + self.image_weight * self.match.image_score)
        # Similarities of rounded features may exceed 1 by a hair.
        stretched = (1 - self.match.score) / lacking if abs(lacking) > 1e-12 else 1.0
        return stretched / (1 - self.baseline)

    @property
    def _node_weight(self) -> float:
        """Return what makes shares of the score of what is matched and what is not."""
        return (1 - self.image_weight) / self._mass

    @property
    def _mass(self) -> float:
        # 1, but for the rounding of importances.
        return float(self.match.plan.sum() + self.match.unmatched_a.sum() + self.match.unmatched_b.sum())

    def _kept(self, axis: int, unmatched: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        weight = self.match.plan.sum(axis) + unmatched
        return torch.where(weight > 0, (self.match.plan * self.match.similarity).sum(axis) / weight, 1.0)

    def _row(
        self, kind: str, target: int | None, preds: int | None, similarity: float | None, mass: float
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "target": target,
            "preds": preds,
            "similarity": similarity,
            "weight": self._node_weight * mass,
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
    [explanation] = explain_pairs(scorer, [preds], target, device)
    return explanation


def explain_pairs(
    scorer: Scorer, preds: Sequence[Tensor], target: Tensor, device: torch.device
) -> Iterator[Explanation]:
    """Explain the scores that a scorer gives to reconstructions of one original, which is looked at once."""
    checked = [*(_one_image(each, "preds", scorer) for each in preds), _one_image(target, "target", scorer)]
    *recons, original = float_images(checked, scorer.data_range)
    networks = scorer.networks.on(device)
    extractor = networks.extractor
    [target_graph] = extractor.extract(to_device([original], device), masks=True)
    for recon in recons:
        [graph] = extractor.extract(to_device([recon], device), masks=True)
        yield Explanation(
            preds=graph,
            target=target_graph,
            match=match_graphs(graph, target_graph, scorer.predicate_similarity(networks), scorer.matching),
            image_weight=scorer.matching.image_weight,
            preds_image=limit_width(recon, extractor.max_width).cpu(),
            target_image=limit_width(original, extractor.max_width).cpu(),
            signature=scorer.signature(),
            baseline=scorer.baseline or 0.0,
        )


# Of one object, so much is found at most where it is lost, and at least where it is kept.
LOST, KEPT = 0.5, 0.9
_NAMED = 3
# What is less than this is not worth a word.
_WORTH = 0.005


def describe_loss(explanation: Explanation, names: Sequence[str] | None = None) -> str:
    """Return what is lost and what is kept of the nodes of an explanation; see ``Explanation.in_words``."""
    contributions, weights = explanation.target_contributions.tolist(), explanation.target_weights.tolist()
    kept, loss = explanation.target_kept.tolist(), explanation.loss
    numbers = range(len(explanation.target))
    by_loss = sorted(numbers, key=lambda number: -contributions[number])
    by_weight = sorted(numbers, key=lambda number: -weights[number])
    groups = {
        "Lost": [number for number in by_loss if kept[number] < LOST],
        "Partly lost": [number for number in by_loss if LOST <= kept[number] < KEPT],
        "Kept": [number for number in by_weight if kept[number] >= KEPT],
    }
    sentences = []
    unit = "piece" if explanation.grouping is None else "object"
    for title, members in groups.items():
        named = members[:_NAMED]
        texts = []
        for number in named:
            called = f"{unit} {number}" if names is None else f"{unit} {number} ({names[number]})"
            share = contributions[number] / loss if loss > _WORTH else 0.0
            costs = f" ({share:.0%} of the loss)".replace("%", " %") if title != "Kept" and share > _WORTH else ""
            texts.append(f"{called}, {_place(*explanation.target.centers[number].tolist())}{costs}")
        if len(members) > len(named):
            texts.append(f"and {len(members) - len(named)} more")
        if texts:
            sentences.append(f"{title}: {'; '.join(texts)}.")
    added = explanation.preds_contributions.sum().item()
    if loss > _WORTH and added / loss > 10 * _WORTH:
        sentences.append(f"Found only in the reconstruction: {added / loss:.0%} of the loss.".replace("%", " %"))
    return " ".join(sentences)


def _place(row: float, column: float) -> str:
    """Say where a point of an image lies.

    Examples:
        >>> _place(0.5, 0.5), _place(0.1, 0.5), _place(0.9, 0.9), _place(0.5, 0.1)
        ('in the middle', 'at the top', 'at the bottom right', 'on the left')
    """
    vertical, horizontal = (words[min(int(3 * x), 2)] for words, x in ((_ROWS, row), (_COLUMNS, column)))
    if not vertical:
        return f"on the {horizontal}" if horizontal else "in the middle"
    return f"at the {vertical} {horizontal}".strip()


_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")


def _sum_up(explanation: Explanation) -> Explanation:
    """Return an explanation whose nodes are objects."""
    groups = group_objects(explanation.preds), group_objects(explanation.target)
    match = explanation.match
    a, b = (functional.one_hot(group).double() for group in groups)
    weights = [graph.importance.double() for graph in (explanation.preds, explanation.target)]
    plan = a.T @ match.plan @ b
    both = torch.outer(*weights)
    matched, anyway = (a.T @ (weight * match.similarity) @ b for weight in (match.plan, both))
    similarity = torch.where(plan > 0, matched / plan, anyway / (a.T @ both @ b))
    summed = dataclasses.replace(
        match,
        similarity=similarity,
        plan=plan,
        assignment=[(i, j) for i, j in plan.nonzero().tolist()],
        unmatched_a=a.T @ match.unmatched_a,
        unmatched_b=b.T @ match.unmatched_b,
    )
    preds, target = (
        object_graph(graph, group) for graph, group in zip((explanation.preds, explanation.target), groups, strict=True)
    )
    return dataclasses.replace(explanation, preds=preds, target=target, match=summed, grouping=groups)


def _one_image(image: Tensor, name: str, scorer: Scorer) -> Tensor:
    images = scorer.check(image if image.ndim == 4 else [image], name)
    if len(images) > 1:
        raise ValueError(f"`{name}` must be one image, [3, H, W] or [1, 3, H, W], got {len(images)}")
    [checked] = images
    if checked is None:
        raise ValueError(f"`{name}` must be finite, got NaN or infinite values")
    return checked
