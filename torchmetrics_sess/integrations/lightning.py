"""The score in a training that knows nothing of it."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from torchmetrics_sess.integrations.loggers import figure_sink
from torchmetrics_sess.metric import SemanticSimilarityScore
from torchmetrics_sess.scoring import Images

Place: TypeAlias = str | int | Callable[[Any, Any], Images]
Stage: TypeAlias = Literal["validate", "test"]

_PREFIX: dict[Stage, str] = {"validate": "val", "test": "test"}


@dataclasses.dataclass
class _Seen:
    """What has been seen of a dataloader in this process."""

    images: int = 0
    lowest: float = math.inf
    worst: tuple[Tensor, Tensor] | None = None


class SeSSCallback(Callback):
    """Adds the semantic similarity score (SeSS) to a training, without a change to the ``LightningModule``.

    At the end of a validation it logs the mean score as ``val/sess``, of a test as ``test/sess``; with several
    dataloaders, as ``val/sess/dataloader_idx_0`` and so on, as Lightning does. ``ModelCheckpoint`` and
    ``EarlyStopping`` can monitor these names, with ``mode="max"``. To every logger that takes figures it also gives
    one of the pair that scored lowest, as ``val/sess_worst``: the two images and how their scene graphs match.

    The metric belongs to the callback. The module gains no attribute, and no checkpoint anything. In a distributed run
    the score is that of all processes together, the worst pair is the worst of all, and the first process draws it; a
    process may see fewer images than others, or none.

    In the sanity check before a training, images are scored, so that mistakes show and weights arrive before the first
    epoch, but nothing is logged.

    Args:
        preds: where the reconstructions are. A key or an index is looked up in what the step returned, if that is a
            mapping or a sequence and has it, and else in the batch; anything else can be said by a function of both,
            ``preds(outputs, batch)``. Found must be images as ``torchmetrics_sess.SemanticSimilarityScore`` takes
            them.
        target: where the originals are; likewise.
        every_n_epochs: in a training, score in every n-th epoch only, counted as ``ModelCheckpoint`` does: epochs n,
            2n and so on, of those with a validation.
        max_images: score at most this many images per dataloader, epoch and process: the first ones. Let the
            validation not be shuffled, so that they are the same in every epoch.
        stages: when to score: ``"validate"``, ``"test"``, or both.
        name: what the score is called, after ``val/`` or ``test/``.
        log_worst: whether to draw the worst pair; needs matplotlib.
        metric_kwargs: further arguments of ``torchmetrics_sess.SemanticSimilarityScore``, such as ``preset``,
            ``data_range``, ``nan``, ``batch_size`` or ``cache_targets``.

    Attributes:
        metrics: the metric of every dataloader, with ``reduction="none"``.

    Raises:
        ValueError: for an argument out of range, or one that the metric does not take. In a step, if there is nothing
            where the images should be.
        TypeError: in a step, if what is there is neither a tensor nor a list of tensors.

    Examples:
        >>> from torchmetrics_sess.integrations import SeSSCallback
        >>> callback = SeSSCallback(preds="recon", target="image", every_n_epochs=5, max_images=64)
        >>> callback.metrics[0].signature.split("|")[:2]
        ['SeSS', 'preset:lite']
    """

    def __init__(
        self,
        preds: Place = "preds",
        target: Place = "target",
        *,
        every_n_epochs: int = 1,
        max_images: int | None = None,
        stages: Sequence[Stage] = ("validate", "test"),
        name: str = "sess",
        log_worst: bool = True,
        **metric_kwargs: Any,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"`every_n_epochs` must be at least 1, got {every_n_epochs}")
        if max_images is not None and max_images < 1:
            raise ValueError(f"`max_images` must be at least 1 or None, got {max_images}")
        if isinstance(stages, str) or not set(stages) <= set(_PREFIX):
            raise ValueError(f"`stages` must be a sequence of 'validate' and 'test', got {stages!r}")
        if "reduction" in metric_kwargs:
            raise ValueError("`reduction` cannot be chosen: what is logged is the mean over all images")
        self.preds = preds
        self.target = target
        self.every_n_epochs = every_n_epochs
        self.max_images = max_images
        self.stages = tuple(stages)
        self.name = name
        self.log_worst = log_worst
        self.metrics = [SemanticSimilarityScore(reduction="none", **metric_kwargs)]
        self._seen: list[_Seen] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say, once, if figures are wanted that cannot be drawn."""
        if self.log_worst and importlib.util.find_spec("matplotlib") is None:
            self.log_worst = False
            rank_zero_info(f"{type(self).__name__} draws no figures, as matplotlib is not installed.")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._begin()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._begin()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score a batch."""
        if self._takes_part(trainer, "validate"):
            self._score(pl_module.device, outputs, batch, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score a batch."""
        if self._takes_part(trainer, "test"):
            self._score(pl_module.device, outputs, batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was found."""
        if self._takes_part(trainer, "validate") and not trainer.sanity_checking:
            self._log(trainer, pl_module, "validate")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was found."""
        if self._takes_part(trainer, "test"):
            self._log(trainer, pl_module, "test")

    def _takes_part(self, trainer: Trainer, stage: Stage) -> bool:
        between = (trainer.current_epoch + 1) % self.every_n_epochs != 0
        skipped = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and between
        return stage in self.stages and not skipped

    def _begin(self) -> None:
        self._seen = []
        for metric in self.metrics:
            metric.reset()

    def _reach(self, dataloaders: int, device: torch.device) -> None:
        """Be ready for so many dataloaders."""
        self._seen += [_Seen() for _ in range(dataloaders - len(self._seen))]
        while len(self.metrics) < dataloaders:
            # A copy shares the cache of targets, so that its size bounds them all.
            self.metrics.append(copy.deepcopy(self.metrics[0]))
            self.metrics[-1].reset()
        for metric in self.metrics:
            metric.to(device)

    def _score(self, device: torch.device, outputs: Any, batch: Any, dataloader_idx: int) -> None:
        self._reach(dataloader_idx + 1, device)
        seen = self._seen[dataloader_idx]
        if seen.images == self.max_images:
            return
        preds, target = self._find("preds", outputs, batch), self._find("target", outputs, batch)
        if preds is target:
            raise ValueError(
                f"`preds={self.preds!r}` and `target={self.target!r}` lead to the same images, {_contents(outputs)} "
                f"being returned by the step and {_contents(batch)} being the batch; tell them apart by a function, "
                "such as `target=lambda outputs, batch: batch[0]`"
            )
        if self.max_images is not None:
            room = self.max_images - seen.images
            preds, target = preds[:room], target[:room]
        metric = self.metrics[dataloader_idx]
        with _idle():
            scores = metric(preds, target).reshape(-1).tolist()
        seen.images += len(preds)
        if self.log_worst and scores and min(scores) < seen.lowest:
            seen.lowest = min(scores)
            index = scores.index(seen.lowest)
            if len(scores) < len(preds):
                # Some were skipped.
                index = list(metric._scorer.pairs(preds, target))[index]
            # Copies, as the batch may be written over, and a view would keep all of it in memory.
            seen.worst = (
                preds[index].detach().to("cpu", copy=True),
                target[index].detach().to("cpu", copy=True),
            )

    def _find(self, argument: Literal["preds", "target"], outputs: Any, batch: Any) -> Images:
        place: Place = getattr(self, argument)
        said = f"`{argument}={place!r}`"
        if callable(place):
            found = place(outputs, batch)
        elif _has(outputs, place):
            found = outputs[place]
        elif _has(batch, place):
            found = batch[place]
        else:
            raise ValueError(
                f"{said} is neither in what the step returned ({_contents(outputs)}) nor in the batch "
                f"({_contents(batch)}). Choose from these, return more from the step, or pass a function "
                f"`{argument}(outputs, batch)`"
            )
        images = [found] if isinstance(found, Tensor) else found
        if not isinstance(images, Sequence) or not all(isinstance(image, Tensor) for image in images):
            raise TypeError(f"{said} must lead to a tensor or a list of tensors, but leads to {_contents(found)}")
        return found

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        # A process without batches does not know how many dataloaders there are, but has to take part in every
        # exchange about each.
        known = torch.tensor(len(self._seen), device=pl_module.device)
        dataloaders = int(trainer.strategy.reduce(known, reduce_op="max"))
        self._reach(dataloaders, pl_module.device)
        for index in range(dataloaders):
            suffix = f"/dataloader_idx_{index}" if dataloaders > 1 else ""
            with _idle():
                scores = self.metrics[index].compute()
            if scores.numel() == 0:
                continue
            pl_module.log(
                f"{_PREFIX[stage]}/{self.name}{suffix}",
                scores.cpu().double().mean().item(),
                on_step=False,
                on_epoch=True,
                batch_size=1,
                add_dataloader_idx=False,
                # All processes log the same value, whose maximum is that value to the last bit.
                sync_dist=True,
                reduce_fx="max",
            )
            if self.log_worst:
                self._draw(trainer, pl_module, self._seen[index], f"{_PREFIX[stage]}/{self.name}_worst{suffix}")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, seen: _Seen, name: str) -> None:
        lowest = trainer.strategy.all_gather(torch.tensor(seen.lowest, device=pl_module.device))
        worst = trainer.strategy.broadcast(seen.worst, src=int(lowest.reshape(-1).argmin()))
        if worst is None or not trainer.is_global_zero:
            return
        sinks = [sink for logger in trainer.loggers if (sink := figure_sink(logger)) is not None]
        if sinks:
            preds, target = (image.expand(3, *image.shape[-2:]) for image in worst)
            figure = self.metrics[0].explain(preds, target).plot()[0]
            for sink in sinks:
                sink(name, figure, trainer.global_step)


@contextmanager
def _idle() -> Iterator[None]:
    """Let a metric compute without a word that it has counted no image, which is no reason to worry."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        yield


def _has(source: Any, place: str | int) -> bool:
    if isinstance(source, Mapping):
        return place in source
    return isinstance(source, (tuple, list)) and isinstance(place, int) and -len(source) <= place < len(source)


def _contents(source: Any) -> str:
    """Say what there is to choose from."""
    if isinstance(source, Mapping):
        return f"a mapping with the keys {', '.join(map(repr, source))}" if source else "an empty mapping"
    if isinstance(source, (tuple, list)):
        return f"a {type(source).__name__} of {len(source)} items: {', '.join(type(item).__name__ for item in source)}"
    if source is None:
        return "nothing"
    return f"a {type(source).__name__}, which has no keys"
