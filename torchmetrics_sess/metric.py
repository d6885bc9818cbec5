"""The score as a metric: what is known of the images seen so far, across updates, epochs and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from torchmetrics_sess.bootstrap import confidence_interval
from torchmetrics_sess.cache import CacheInfo
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.images import NotFinite, OutOfRange
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.scoring import Images, Reduction, Rescale, Scorer, check_reduction

if TYPE_CHECKING:
    from torchmetrics_sess.explanation import Explanation

# Scores are counted in whole units. Sums of integers are exact, so that no order of batches or processes changes a
# bit; they are out of reach of `.half()` or `.to(torch.bfloat16)`; and every device knows them, unlike float64. There
# is room for 100 million images.
_UNITS = 2**36


class SemanticSimilarityScore(Metric):
    """Semantic similarity score (SeSS): how much of the meaning of an image another one keeps.

    Each image becomes a scene graph, of its objects, how they relate and how much each matters; the two graphs of a
    pair are matched (Fan et al., *Semantic Similarity Score for Measuring Visual Similarity at Semantic Level*, IEEE
    IoT-J 2024). Networks are found in a pool that all metrics of a process share. They are no part of the metric:
    neither its ``state_dict`` nor ``parameters()`` nor a pickle holds any, and no cast or mode of the module that owns
    the metric reaches them.

    As input to ``forward`` and ``update`` the metric accepts

    - ``preds``: images ``[N, 3, H, W]``, or ``[N, 1, H, W]`` for greyscale, or a list of images of any sizes; uint8, or
      floating point within ``data_range``; on any device
    - ``target``: as many images, whose sizes may differ from those of ``preds``

    As output of ``forward`` and ``compute`` the metric returns

    - ``sess``: a scalar, 1 for equal meaning; with ``reduction="none"`` a score per pair, ``[N]`` (a scalar for one
      pair, as TorchMetrics has it). In a distributed run, those of the first process come first, then those of the
      second, and so on. Before any update, the mean and the sum are 0 and ``"none"`` gives an empty tensor, with the
      warning of TorchMetrics.

    Note:
        The value has no gradient: for a training, there is ``torchmetrics_sess.SemanticSimilarityLoss``.

    Note:
        In a distributed run, Lightning's samplers repeat some images so that all processes have as many, and these
        count twice, in this metric as in any other. And as with any other, a process that has seen no image since its
        last ``compute`` returns that value again without asking the others, who would wait for it in vain; where that
        can happen, call ``reset`` in between, as Lightning does, or pass ``compute_with_cache=False``.

    Note:
        On the CPU, ``cache_targets`` changes no bit of a score of ``lite``, and nor do ``batch_size`` or the batches
        that images come in. On CUDA, libraries choose among kernels by the number of images, which may round
        differently: there, the same holds up to rounding, as it does for the other presets. Copies of a metric share
        its cache; a pickle of it, and hence every process of a distributed run, starts with an empty memory.

    Args:
        preset: name of a preset, path of a YAML file, or a ``torchmetrics_sess.presets.Preset``.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.iterations": 3}``.
        extractor: a ready-made extractor in place of a preset's; needs ``relation_similarity``. It stays on its device;
            copies of the metric share it, and a pickle of the metric contains it.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones. Beside a preset it is
            deprecated: use ``overrides``.
        reduction: ``"mean"`` or ``"sum"`` over the pairs; ``"none"`` or ``None`` for a score per pair.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what floating-point values beyond ``data_range`` are: ``"raise"`` for an error, or ``"clamp"`` for
            its nearer end.
        nan: what images with NaN or infinite values are: ``"raise"`` for an error, or ``"skip"`` to leave their pairs
            out: the first ones with a warning, and all of them counted in ``skipped``.
        batch_size: how many pairs go through the networks at once, which bounds memory and changes no score; by
            default, all of an update.
        rescale: ``"baseline"`` for a scale on which unrelated images score about 0: ``(score - b) / (1 - b)``, at least
            0 and at most 1, with ``b`` the preset's baseline. The signature says so.
        cache_targets: whether to keep the scene graphs of targets, which are the same in every validation epoch, so
            that later epochs extract those of ``preds`` alone: ``False``; ``True`` for memory; or a folder, which
            survives the run and may be shared by the processes of this one and others.
        cache_size_mib: how much to keep at most, in MiB; beyond it, the least recently used graphs go. By default, 512
            in memory and 10240 in a folder. In ``lite`` a graph takes 84 kB whatever the size of its image, so that
            512 MiB hold 6300.
        kwargs: additional arguments of ``torchmetrics.Metric``.

    Attributes:
        skipped: how many pairs were skipped since the last ``reset``, by this process.

    Raises:
        ValueError: for a setting that is unknown or out of range, arguments that exclude each other, ``rescale``
            without a baseline for these settings, or a folder for targets that cannot be written to.
        TypeError: for a setting of a wrong type.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess import SemanticSimilarityScore
        >>> sess = SemanticSimilarityScore()
        >>> images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sess.update(images, images)
        >>> sess.compute().round(decimals=4)
        tensor(1.)
        >>> sess.signature.split("|")[:2]
        ['SeSS', 'preset:lite']
    """

    # It counts in integers. ``SemanticSimilarityLoss`` has a gradient.
    is_differentiable: bool = False
    higher_is_better: bool = True
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    plot_upper_bound: float = 1.0

    score_sum: Int64[Tensor, ""]
    total: Int64[Tensor, ""]
    scores: list[Int64[Tensor, " n"]]
    skipped: Int64[Tensor, ""]
    fingerprint: Int64[Tensor, ""]

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
        nan: NotFinite = "raise",
        batch_size: int | None = None,
        rescale: Rescale = None,
        cache_targets: bool | str | Path = False,
        cache_size_mib: float | int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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
            nan=nan,
            batch_size=batch_size,
            rescale=rescale,
            cache_targets=cache_targets,
            cache_size_mib=cache_size_mib,
        )
        self._value_dtype = torch.float32
        self._counted = 0
        if reduction in ("mean", "sum"):
            self.add_state("score_sum", torch.tensor(0), dist_reduce_fx="sum")
            self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        else:
            self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("skipped", torch.tensor(0), dist_reduce_fx="sum")
        # A MetricCollection takes metrics for one and the same whose states agree after the first batch, as those of
        # any two settings do on identical images.
        self.add_state("fingerprint", torch.tensor(self._scorer.fingerprint()), dist_reduce_fx="sum")

    @property
    def signature(self) -> str:
        """Everything that can change a score, in short: to be quoted with every number."""
        return self._scorer.signature()

    def long_signature(self) -> str:
        """Return the signature with the names of all settings spelled out."""
        return self._scorer.signature(long=True)

    def update(self, preds: Images, target: Images) -> None:
        """Score images and count them in.

        Args:
            preds: ``[N, 3, H, W]``, or a list of images.
            target: as many images.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each. The metric stays as
                it was.
            TypeError: for images of a wrong type; likewise.
        """
        try:
            # An extractor that was handed in need not be where the metric is.
            scores = self._scorer(preds, target, self.device if self._scorer.preset else None)
        except BaseException:
            # TorchMetrics counts an update before it is made.
            self._update_count -= 1
            raise
        self.skipped = self.skipped + len(preds) - len(scores)
        self._counted = len(scores)
        if not scores:
            self._update_count -= 1
            return
        units = torch.tensor([round(score * _UNITS) for score in scores], dtype=torch.int64, device=self.device)
        if self.reduction in ("mean", "sum"):
            self.score_sum = self.score_sum + units.sum()
            self.total = self.total + len(scores)
        else:
            self.scores.append(units)

    def compute(self) -> Float[Tensor, "*n"]:
        """Return the score of all images counted in so far, or the scores."""
        if self.reduction in ("mean", "sum"):
            value = self.score_sum.cpu().double() / _UNITS
            if self.reduction == "mean":
                value = value / self.total.cpu().clamp(min=1)
        elif len(self.scores) == 0:
            value = torch.zeros(0)
        else:
            value = dim_zero_cat(self.scores).cpu().double() / _UNITS
        # Not every device can take in float64 to convert it.
        return value.to(self._value_dtype).to(self.device)

    def forward(self, preds: Images, target: Images) -> Float[Tensor, "*n"]:
        """Score images, count them in, and return the score of these alone."""
        # TorchMetrics resets the metric for the time of a batch, and would leave it so if the batch fails.
        updates = self._update_count
        before = {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}
        try:
            value: Tensor = super().forward(preds, target)
        except BaseException:
            vars(self).update(before)
            raise
        if not self._counted:
            self._update_count = updates
        return value

    def confidence_interval(self, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
        """Return a confidence interval of the mean score, by bootstrap over the images.

        The percentile interval of Efron & Tibshirani (1993): the images are drawn anew, with replacement, as many as
        there are, and the interval holds the middle ``level`` of the means. It needs the score of every pair, hence
        ``reduction="none"``. In a distributed run, call it on all processes.

        Args:
            level: share of the means that lies within, in (0, 1).
            resamples: how often to draw.
            seed: of the random numbers.

        Returns:
            The lower and the upper end.

        Raises:
            ValueError: if the metric was made with another ``reduction``, nothing has been scored yet, or ``level`` or
                ``resamples`` is out of range.

        Examples:
            >>> import torch
            >>> from torchmetrics_sess import SemanticSimilarityScore
            >>> sess = SemanticSimilarityScore(reduction="none")
            >>> images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
            >>> sess.update(images, images.flip(0))
            >>> low, high = sess.confidence_interval()
            >>> low <= sess.compute().mean().item() <= high
            True
        """
        if self.reduction in ("mean", "sum"):
            raise ValueError(
                f"`confidence_interval` needs the score of every pair, which `reduction={self.reduction!r}` does not "
                f"keep; make the metric with `reduction='none'`"
            )
        scores: Tensor = self.compute().reshape(-1)
        if len(scores) == 0:
            raise ValueError("`confidence_interval` needs scored images: call `update` first")
        return confidence_interval(scores, level, resamples, seed)

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, size and bytes of the cache of target graphs, as this process has seen it.

        All are 0 with ``cache_targets=False``. ``reset`` leaves them as they are.

        Examples:
            >>> import torch
            >>> from torchmetrics_sess import SemanticSimilarityScore
            >>> sess = SemanticSimilarityScore(cache_targets=True)
            >>> images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
            >>> for epoch in range(3):
            ...     sess.update(images.flip(0), images)
            ...     sess.reset()
            >>> sess.cache_info()
            CacheInfo(hits=4, misses=2, size=2, bytes=168448)
        """
        return self._scorer.cache_info()

    def explain(self, preds: Tensor, target: Tensor) -> Explanation:
        """Explain the score that this metric gives to one image; see ``torchmetrics_sess.explain``. It counts nothing.

        Args:
            preds: the image to judge, ``[3, H, W]`` or ``[1, 3, H, W]``.
            target: the image to compare it with.

        Raises:
            ValueError: for more than one image, or images of a wrong shape or range.
            TypeError: for images of a wrong type.
        """
        from torchmetrics_sess.explanation import explain_pair

        # As for an update: an extractor that was handed in need not be where the metric is.
        return explain_pair(self._scorer, preds, target, self.device if self._scorer.preset else preds.device)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot one or several values of the metric.

        Args:
            val: a result of ``compute`` or ``forward``, or a list of them; by default, that of ``compute``.
            ax: matplotlib axes to draw on; by default, new ones.

        Returns:
            The figure and the axes.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        return self._plot(val, ax)

    def set_dtype(self, dst_type: str | torch.dtype) -> SemanticSimilarityScore:
        """Choose the dtype of computed values. What the metric has counted stays exact, and so do its networks."""
        self._dtype = self._value_dtype = torch.zeros(0).type(dst_type).dtype
        self._computed = None
        return self

    def state_dict(  # type: ignore[override]  # as TorchMetrics has it
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return what ``torchmetrics.Metric.persistent`` asks to keep: nothing, by default."""
        state: dict[str, Any] = super().state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)
        # PyTorch notes a version number for every module, by name, and a checkpoint would grow by that.
        getattr(state, "_metadata", {}).pop(prefix.removesuffix("."), None)
        return state

    def extra_repr(self) -> str:
        """Say what is computed, for ``repr``."""
        preset = self._scorer.preset
        return f"preset={(preset.name if preset else 'custom')!r}, reduction={self.reduction!r}"

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        if "scores" in self._defaults and not self.scores:
            # A process without images must offer what the others do. TorchMetrics' own stand-in has another dtype.
            self.scores = [torch.zeros(0, dtype=torch.int64, device=self.device)]
        super()._sync_dist(dist_sync_fn, process_group)
