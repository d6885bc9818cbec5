"""The score as a function: one call, and networks that stay for the next one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.images import NotFinite, OutOfRange
from torchmetrics_sess.loss import check_differentiable, pair_losses, reduce_losses
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.presets.pool import keep_networks
from torchmetrics_sess.scoring import Images, Reduction, Rescale, Scorer, check_reduction, device_of


@overload
def semantic_similarity_score(
    preds: Images,
    target: Images,
    preset: str | Path | Preset = "lite",
    *,
    overrides: Mapping[str, Any] | None = None,
    extractor: SceneGraphExtractor | None = None,
    relation_similarity: Float[Tensor, "p p"] | None = None,
    matching: MatchingConfig | None = None,
    reduction: Reduction = "mean",
    data_range: Sequence[float | int] = (0.0, 1.0),
    out_of_range: OutOfRange = "raise",
    nan: NotFinite = "raise",
    return_std: Literal[False] = False,
    batch_size: int | None = None,
    rescale: Rescale = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*n"]: ...


@overload
def semantic_similarity_score(
    preds: Images,
    target: Images,
    preset: str | Path | Preset = "lite",
    *,
    overrides: Mapping[str, Any] | None = None,
    extractor: SceneGraphExtractor | None = None,
    relation_similarity: Float[Tensor, "p p"] | None = None,
    matching: MatchingConfig | None = None,
    reduction: Reduction = "mean",
    data_range: Sequence[float | int] = (0.0, 1.0),
    out_of_range: OutOfRange = "raise",
    nan: NotFinite = "raise",
    return_std: Literal[True],
    batch_size: int | None = None,
    rescale: Rescale = None,
    device: torch.device | str | None = None,
) -> tuple[Float[Tensor, "*n"], Float[Tensor, ""]]: ...


def semantic_similarity_score(
    preds: Images,
    target: Images,
    preset: str | Path | Preset = "lite",
    *,
    overrides: Mapping[str, Any] | None = None,
    extractor: SceneGraphExtractor | None = None,
    relation_similarity: Float[Tensor, "p p"] | None = None,
    matching: MatchingConfig | None = None,
    reduction: Reduction = "mean",
    data_range: Sequence[float | int] = (0.0, 1.0),
    out_of_range: OutOfRange = "raise",
    nan: NotFinite = "raise",
    return_std: bool = False,
    batch_size: int | None = None,
    rescale: Rescale = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*n"] | tuple[Float[Tensor, "*n"], Float[Tensor, ""]]:
    """Score how much of the meaning of each ``target`` its counterpart in ``preds`` keeps, after Fan et al. (2024).

    Each image becomes a scene graph, and the graphs of each pair are matched; see
    ``torchmetrics_sess.SemanticSimilarityScore``. The networks of the preset and device used last stay in memory
    for the next call, or until ``torchmetrics_sess.release_networks``.

    Args:
        preds: ``[N, 3, H, W]``, or ``[N, 1, H, W]`` for greyscale, or a list of images of any sizes; uint8, or floating
            point within ``data_range``.
        target: as many images; their sizes may differ from those of ``preds``.
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.iterations": 3}``.
        extractor: a ready-made extractor in place of a preset's; needs ``relation_similarity``.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones. Beside a preset it is
            deprecated: use ``overrides``.
        reduction: ``"mean"`` or ``"sum"`` over the pairs; ``"none"`` or ``None`` for a score per pair.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what floating-point values beyond ``data_range`` are: ``"raise"`` for an error, or ``"clamp"`` for
            its nearer end.
        nan: what images with NaN or infinite values are: ``"raise"`` for an error, or ``"skip"`` to leave their pairs
            out, with a warning.
        return_std: deprecated: ask for ``reduction="none"`` and take the standard deviation of that. Whether to return
            it too, divided by N.
        batch_size: how many pairs go through the networks at once, which bounds memory and changes no score; by
            default, all.
        rescale: ``"baseline"`` for a scale on which unrelated images score about 0: ``(score - b) / (1 - b)``, at least
            0 and at most 1, with ``b`` the preset's baseline. The signature says so.
        device: where the networks work; by default, where ``preds`` are. An ``extractor`` stays where it is: the images
            are brought to ``device``, or to its own if it has one.

    Returns:
        The score, 1 for equal meaning: a scalar, or ``[N]`` if not reduced, less those that were skipped; without
        gradient, on ``device``. With ``return_std``, the score and the standard deviation.

    Raises:
        ValueError: for images of a wrong shape or range, a setting that is unknown or out of range, or
            ``rescale`` without a baseline for these settings.
        TypeError: for images or settings of a wrong type.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import semantic_similarity_score
        >>> images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> semantic_similarity_score(images, images).round(decimals=4)
        tensor(1.)
        >>> semantic_similarity_score(images, images.flip(0), reduction="none").shape
        torch.Size([2])
    """
    check_reduction(reduction)
    if return_std:
        warnings.warn(
            "`return_std` is deprecated: take `.std(correction=0)` of the scores that `reduction='none'` gives",
            FutureWarning,
            stacklevel=2,
        )
    scorer = Scorer(
        preset,
        overrides=overrides,
        extractor=extractor,
        relation_similarity=relation_similarity,
        matching=matching,
        data_range=data_range,
        out_of_range=out_of_range,
        nan=nan,
        batch_size=batch_size,
        rescale=rescale,
    )
    scores = torch.tensor(scorer(preds, target, device), dtype=torch.float64, device="cpu")
    where = torch.device(device or device_of(preds))
    if scorer.preset is not None:
        keep_networks(scorer.preset, where)

    # If all pairs were skipped, there is nothing that the mean could be of.
    counted = scores if len(scores) else torch.zeros(1, dtype=torch.float64, device="cpu")
    reduced = counted.mean() if reduction == "mean" else counted.sum() if reduction == "sum" else scores
    value = reduced.float().to(where)
    if return_std:
        return value, counted.std(correction=0).float().to(where)
    return value


def semantic_similarity_loss(
    preds: Images,
    target: Images,
    preset: str | Path | Preset = "lite",
    *,
    overrides: Mapping[str, Any] | None = None,
    extractor: SceneGraphExtractor | None = None,
    relation_similarity: Float[Tensor, "p p"] | None = None,
    matching: MatchingConfig | None = None,
    reduction: Reduction = "mean",
    data_range: Sequence[float | int] = (0.0, 1.0),
    out_of_range: OutOfRange = "raise",
    batch_size: int = 8,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*n"]:
    """Return 1 - SeSS of every pair, with its gradient by ``preds``: see ``torchmetrics_sess.SemanticSimilarityLoss``.

    As for ``semantic_similarity_score``, the networks stay in memory for the next call.

    Args:
        preds: ``[N, 3, H, W]``, or ``[N, 1, H, W]`` for greyscale, or a list of images of any sizes; floating point
            within ``data_range``.
        target: as many images, uint8 or floating point; their sizes may differ from those of ``preds``.
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.exponent": 1.0}``.
        extractor: a ready-made extractor in place of a preset's; needs ``relation_similarity``.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones.
        reduction: ``"mean"`` or ``"sum"`` over the pairs; ``"none"`` or ``None`` for a loss per pair.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what values beyond ``data_range`` are: ``"raise"`` for an error, or ``"clamp"`` for its nearer
            end, where the gradient is 0.
        batch_size: how many images of ``preds`` are differentiated at once, which bounds memory and changes no value.
        device: where the networks work; by default, where ``preds`` are.

    Returns:
        The loss, 0 for equal meaning: a float32 scalar, or ``[N]`` if not reduced, on the device of ``preds``.

    Raises:
        ValueError: for a preset or extractor that has no gradient, images of a wrong shape or range, or a setting that
            is unknown or out of range.
        TypeError: for images or settings of a wrong type.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import semantic_similarity_loss
        >>> images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> preds = images.flip(3).requires_grad_()
        >>> semantic_similarity_loss(preds, images).backward()
        >>> bool(preds.grad.isfinite().all()), bool(preds.grad.any())
        (True, True)
    """
    check_reduction(reduction)
    scorer = Scorer(
        preset,
        overrides=overrides,
        extractor=extractor,
        relation_similarity=relation_similarity,
        matching=matching,
        data_range=data_range,
        out_of_range=out_of_range,
        batch_size=batch_size,
    )
    check_differentiable(scorer)
    losses = pair_losses(scorer, preds, target, device)
    if scorer.preset is not None:
        keep_networks(scorer.preset, torch.device(device or device_of(preds)))
    return reduce_losses(losses, reduction)
