"""The score as something to learn from: what every pair lacks of 1, and its gradient by the pixels of ``preds``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from torchmetrics_sess.cache import CacheInfo
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import OutOfRange, float_images
from torchmetrics_sess.matching import MatchingConfig, differentiate_graph_pairs
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets import Preset, load_preset, preset_names
from torchmetrics_sess.scoring import Images, Reduction, Scorer, check_reduction, device_of
from torchmetrics_sess.stages import Image


class SemanticSimilarityLoss(nn.Module):
    """What images lack of the meaning of others: 1 - SeSS of every pair, to be minimised.

    Its value is that of ``torchmetrics_sess.SemanticSimilarityScore`` with the same settings, taken from 1. The
    gradient is with respect to ``preds`` alone, and exact: through the network, the soft regions, their importance, and
    the matching (see ``docs/loss.md``).

    The gradient is computed along with the value, a few pairs at a time, and ``backward`` only scales it: networks
    leave nothing behind in memory for a backward pass, and run in float32 whatever autocast, precision or compiler the
    training uses. They are found in a pool that all metrics and losses of a process share: the module has no
    parameters, no buffers and no state, and a copy or pickle of it holds no network. The gradient has no gradient of
    its own.

    As input, the module accepts

    - ``preds``: images ``[N, 3, H, W]``, or ``[N, 1, H, W]`` for greyscale, or a list of images of any sizes; floating
      point within ``data_range``; on any device, in any memory format
    - ``target``: as many images, whose sizes may differ from those of ``preds``; uint8 or floating point; their
      gradient is never taken

    and it returns a float32 scalar, or ``[N]`` with ``reduction="none"``, on the device of ``preds``.

    Args:
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.exponent": 1.0}``.
        extractor: a ready-made extractor in where of a preset's; needs ``relation_similarity``.
        relation_similarity: how alike two predicates are, ``[p, p]``, in where of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones.
        reduction: ``"mean"`` or ``"sum"`` over the pairs; ``"none"`` or ``None`` for a loss per pair.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what values beyond ``data_range`` are: ``"raise"`` for an error, or ``"clamp"`` for its nearer
            end, where the gradient is 0.
        batch_size: how many images of ``preds`` are differentiated at once: it bounds the memory, whatever the size of
            the batch, and nothing is computed twice for it. It changes no value.
        cache_targets: whether to keep the scene graphs of targets: ``False``; ``True`` for memory; or a folder. It pays
            where the same targets come again, not crops drawn at random.
        cache_size_mib: how much to keep at most, in MiB; by default, 512 in memory and 10240 in a folder.

    Raises:
        ValueError: for a preset or extractor that has no gradient, and as for
            ``torchmetrics_sess.SemanticSimilarityScore``.
        TypeError: for a setting of a wrong type.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import SemanticSimilarityLoss
        >>> loss = SemanticSimilarityLoss()
        >>> images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> preds = images.flip(3).requires_grad_()
        >>> loss(preds, images).backward()
        >>> preds.grad.shape, list(loss.state_dict()), list(loss.parameters())
        (torch.Size([1, 3, 64, 64]), [], [])
    """

    def __init__(
        self,
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
        cache_targets: bool | str | Path = False,
        cache_size_mib: float | int | None = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self._scorer = Scorer(
            preset,
            overrides=overrides,
            extractor=extractor,
            relation_similarity=relation_similarity,
            matching=matching,
            data_range=data_range,
            out_of_range=out_of_range,
            batch_size=batch_size,
            cache_targets=cache_targets,
            cache_size_mib=cache_size_mib,
        )
        check_differentiable(self._scorer)

    def forward(self, preds: Images, target: Images) -> Float[Tensor, "*n"]:
        """Return the loss of images.

        Args:
            preds: ``[N, 3, H, W]``, or a list of images.
            target: as many images.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each.
            TypeError: for images of a wrong type.
        """
        return reduce_losses(pair_losses(self._scorer, preds, target), self.reduction)

    @property
    def signature(self) -> str:
        """Everything that can change a value, in short: that of the metric with the same settings."""
        return self._scorer.signature()

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, size and bytes of the cache of target graphs; all are 0 with ``cache_targets=False``."""
        return self._scorer.cache_info()

    def extra_repr(self) -> str:
        """Say what is computed, for ``repr``."""
        preset = self._scorer.preset
        return f"preset={(preset.name if preset else 'custom')!r}, reduction={self.reduction!r}"


def check_differentiable(scorer: Scorer) -> None:
    """Check that the score of ``scorer`` has a gradient.

    Raises:
        ValueError: if not; it says why, and which presets have one.
    """
    if scorer.preset is None:
        name, reasons = "this `extractor`", obstacles(scorer.networks.on(torch.device("cpu")).extractor)
    else:
        name, reasons = f"the preset {scorer.preset.name!r}", obstacles(scorer.preset)
    if reasons:
        able = [name for name in preset_names() if not obstacles(load_preset(name))]
        raise ValueError(
            f"{name} has no gradient by the pixels of an image: {'; '.join(reasons)}. "
            f"Presets that have one: {', '.join(map(repr, able))}"
        )


def obstacles(source: Preset | SceneGraphExtractor) -> list[str]:
    """Return why scene graphs of a preset or an extractor have no gradient by the pixels of an image, if so.

    Examples:
        >>> obstacles(load_preset("lite"))
        []
        >>> obstacles(load_preset("lite", {"importance.saliency": "spectral_residual"}))
        ["`importance.saliency` is 'spectral_residual', which computes in whole numbers"]
    """
    reasons = [
        f"its {role}, {getattr(stage, 'kind', type(stage).__name__)!r}, cannot be differentiated"
        for role, stage in (("segmenter", source.segmenter), ("encoder", source.encoder))
        if not getattr(stage, "differentiable", False)
    ]
    if source.importance.saliency != "segmenter":
        reasons.append(f"`importance.saliency` is {source.importance.saliency!r}, which computes in whole numbers")
    if source.max_width is not None:
        reasons.append(f"`max_width` is {source.max_width}, which rounds wider images to bytes")
    return reasons


def reduce_losses(losses: Float[Tensor, " n"], reduction: Reduction) -> Float[Tensor, "*n"]:
    """Return the mean or the sum of losses, or all of them."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def pair_losses(
    scorer: Scorer, preds: Images, target: Images, device: torch.device | str | None = None
) -> Float[Tensor, " n"]:
    """Return 1 - SeSS of every pair, as a function of ``preds`` that autograd knows.

    Args:
        scorer: whose score has a gradient.
        preds: as for ``SemanticSimilarityLoss``.
        target: likewise.
        device: where the networks work; by default, where ``preds`` are.

    Raises:
        ValueError: as for ``SemanticSimilarityLoss``.
        TypeError: likewise.
    """
    # Nothing of this could be compiled, and nothing of it needs to be.
    losses: Tensor = torch.compiler.disable(_pair_losses)(scorer, preds, target, device)
    return losses


def _pair_losses(scorer: Scorer, preds: Images, target: Images, device: torch.device | str | None) -> Tensor:
    where = torch.device(device or device_of(preds))
    if not (torch.is_grad_enabled() and any(image.requires_grad for image in preds)):
        return _losses(scorer(preds, target, where), device_of(preds))
    targets = [target for _, target in scorer.pairs(preds, target).values()]
    losses: Tensor = _Losses.apply(scorer, targets, where, *preds)
    return losses


def _losses(scores: Sequence[float], device: torch.device) -> Float[Tensor, " n"]:
    return torch.tensor([1 - score for score in scores], dtype=torch.float32, device=device)


class _Losses(torch.autograd.Function):
    """The loss of every pair, differentiated as it is computed."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, scorer: Scorer, targets: list[Tensor], device: torch.device, *preds: Tensor
    ) -> Float[Tensor, " n"]:
        """Return the losses, and keep their gradients."""
        networks = scorer.networks.on(device)
        originals = scorer.originals(targets, device)
        size = scorer.batch_size or len(preds)
        scores: list[float] = []
        slopes: list[Tensor] = []
        for start in range(0, len(preds), size):
            part = slice(start, start + size)
            # In half precision, slopes would be too small for their dtype.
            pixels = [image.detach().float().requires_grad_() for image in preds[part]]
            with full_precision(device, gradient=True):
                clamped = [image.clamp(*scorer.data_range) for image in pixels]
                images = [image.to(device) for image in float_images(clamped, scorer.data_range)]
            some = differentiate_scores(
                networks.extractor,
                images,
                originals[part],
                scorer.predicate_similarity(networks),
                scorer.matching,
                by=pixels,
            )
            scores += some[0]
            slopes += some[1]
        ctx.save_for_backward(*slopes)
        return _losses(scores, device_of(preds))

    @staticmethod
    def backward(ctx: Any, by_losses: Float[Tensor, " n"]) -> tuple[Tensor | None, ...]:
        """Scale the gradients that are kept."""
        # With `create_graph=True`, what comes of them must not pass for a constant.
        anything = torch.zeros((), requires_grad=True) if torch.is_grad_enabled() else None
        slopes = zip(by_losses.detach(), ctx.saved_tensors, ctx.needs_input_grad[3:], strict=True)
        return (
            None,
            None,
            None,
            *(_Once.apply(-by_loss * slope, anything) if needed else None for by_loss, slope, needed in slopes),
        )


class _Once(torch.autograd.Function):
    """Says so when a gradient is differentiated that has no derivative."""

    @staticmethod
    def forward(ctx: FunctionCtx, gradient: Tensor, anything: Tensor | None) -> Tensor:
        """Return ``gradient``, which then seems to depend on ``anything`` that requires a gradient."""
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: FunctionCtx, by_gradient: Tensor) -> NoReturn:
        """Refuse."""
        raise RuntimeError("SemanticSimilarityLoss has no second derivative: no penalty on its gradient can be learned")


def differentiate_scores(
    extractor: SceneGraphExtractor,
    images: list[Image],
    originals: Sequence[SceneGraph],
    relation_similarity: Float[Tensor, "p p"],
    matching: MatchingConfig,
    *,
    by: Sequence[Tensor],
) -> tuple[list[float], list[Tensor]]:
    """Score images against scene graphs of their originals, and differentiate every score.

    Args:
        extractor: of the scene graphs of ``images``.
        images: RGB in [0, 1], floating point.
        originals: as many scene graphs.
        relation_similarity: how alike two predicates are, ``[p, p]``.
        matching: settings of matching.
        by: what the images were computed from, one tensor each, if not the images themselves.

    Returns:
        The scores, and the derivative of each by its entry in ``by``.
    """
    with full_precision(images[0].device, gradient=True):
        graphs = extractor.extract(images, gradient=True)
        matched = differentiate_graph_pairs(graphs, originals, relation_similarity, matching)
        outputs, slopes = [], []
        for graph, (_, gradient) in zip(graphs, matched, strict=True):
            for name, slope in gradient._asdict().items():
                output = getattr(graph, name)
                if output.requires_grad:
                    outputs.append(output)
                    slopes.append(slope.to(output))
        by_pixels = torch.autograd.grad(outputs, list(by), slopes, allow_unused=True, materialize_grads=True)
    return [result.score for result, _ in matched], list(by_pixels)
