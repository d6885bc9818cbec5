"""How many of the annotated relations of images are found: recall as RelateAnything counts it, and as PSG does."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from torchmetrics_sess.relations.vocabulary import PREDICATES

Booleans: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]
Protocol: TypeAlias = Literal["ram", "predcls", "sgdet"]

# Shares are counted in whole units. Sums of integers are exact, so that no order of batches or processes changes a bit.
_UNITS = 2**36
_MATCHING_IOU = 0.5


class RelationRecall(Metric):
    """Recall of annotated relations among the most probable ones.

    Three protocols, which give different numbers:

    - ``"ram"``, that of RelateAnything: all triplets (predicate, subject, object) of two different objects are ranked
      by probability, as many predicates of a pair as there are. Recall is the share of the annotated triplets among the
      first K.
    - ``"predcls"``, that of PSG (Yang et al., *Panoptic Scene Graph Generation*, ECCV 2022) for objects that are given:
      every ordered pair keeps its most probable predicate, so that a pair with two annotated ones can find only one.
    - ``"sgdet"``, that of PSG for objects that were found: triplets are ranked by the probability of the predicate
      times the scores of both objects, and an object is an annotated one if it has its class, and a mask whose IoU with
      that one's is at least .5. Without classes, masks alone decide; the numbers are then called class-agnostic.

    As input to ``forward`` and ``update`` the metric accepts one image; see ``update``. Images without annotated
    relations do not count. Equally probable triplets rank as ``torch.topk`` has it.

    As output of ``forward`` and ``compute`` the metric returns a dictionary of scalars in [0, 1], float64 where the
    device has it:

    - ``"ram"``: ``recall@K`` for every K, the mean over images
    - else: ``R@K``, the mean over images; ``mR@K``, per predicate the mean over the images in which it is annotated of
      the share found there, then the mean over all predicates, those never annotated counting 0; and ``pair@K``, the
      mean over images of the share of annotated pairs that are found, whatever their predicate. Keys of class-agnostic
      numbers begin with ``class_agnostic_``.

    Args:
        protocol: see above.
        top_k: how many of the first triplets to look at: one number or several.
        kwargs: additional arguments of ``torchmetrics.Metric``.

    Raises:
        ValueError: for an unknown protocol, or a ``top_k`` that is empty or not positive.

    Examples:
        >>> import torch
        >>> recall = RelationRecall("predcls", top_k=1)
        >>> scores = torch.zeros(56, 2, 2)
        >>> scores[3, 0, 1], scores[0, 1, 0] = 0.9, 0.2  # "on" and "over"
        >>> recall.update(scores, torch.tensor([[0, 1, 3], [1, 0, 2]]))
        >>> {name: round(value.item(), 3) for name, value in recall.compute().items()}
        {'R@1': 0.5, 'mR@1': 0.018, 'pair@1': 0.5}
    """

    is_differentiable: bool = False
    higher_is_better: bool = True
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    plot_upper_bound: float = 1.0

    images: Int64[Tensor, ""]
    class_agnostic: Int64[Tensor, ""]
    found: Int64[Tensor, " k"]
    found_pairs: Int64[Tensor, " k"]
    found_by_predicate: Int64[Tensor, "k p"]
    images_by_predicate: Int64[Tensor, " p"]
    fingerprint: Int64[Tensor, ""]

    def __init__(self, protocol: Protocol = "ram", top_k: int | Sequence[int] = (20, 50, 100), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if protocol not in get_args(Protocol):
            raise ValueError(f"`protocol` must be one of {', '.join(map(repr, get_args(Protocol)))}, got {protocol!r}")
        try:
            ranks = tuple(map(operator.index, top_k if isinstance(top_k, Iterable) else (top_k,)))
        except TypeError as error:
            raise TypeError(f"`top_k` must be one or several whole numbers, got {top_k!r}") from error
        if not ranks or min(ranks) < 1:
            raise ValueError(f"`top_k` must be one or several numbers of at least 1, got {top_k!r}")
        self.protocol: Protocol = protocol
        self.top_k = ranks
        self._value_dtype = torch.float64
        k, p = len(ranks), len(PREDICATES)
        for name, shape in {
            "images": (),
            "class_agnostic": (),
            "found": (k,),
            "found_pairs": (k,),
            "found_by_predicate": (k, p),
            "images_by_predicate": (p,),
        }.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        # A MetricCollection takes metrics for one and the same whose states agree after the first batch.
        self.add_state("fingerprint", torch.tensor(hash((protocol, ranks)) % 2**32), dist_reduce_fx="sum")

    def update(
        self,
        scores: Float[Tensor, "p n n"],
        relations: Int[Tensor, "m 3"],
        masks: Bool[Tensor, "g h w"] | None = None,
        classes: Int[Tensor, " g"] | None = None,
        pred_masks: Bool[Tensor, "n h w"] | None = None,
        pred_classes: Int[Tensor, " n"] | None = None,
        pred_scores: Float[Tensor, " n"] | None = None,
        iou: Float[Tensor, "n g"] | None = None,
    ) -> None:
        """Count one image in.

        Args:
            scores: probability of every (predicate, subject, object). Objects are the annotated ones, or with
                ``"sgdet"`` those that were found; the diagonal is not looked at.
            relations: annotated (subject, object, predicate). One that is there twice counts once.
            masks: of the annotated objects; only ``"sgdet"`` reads it, as all that follow.
            classes: of the annotated objects; ``None`` for the class-agnostic number.
            pred_masks: of the objects that were found.
            pred_classes: of the objects that were found; needed if there are ``classes``.
            pred_scores: how sure each of them is; 1 by default.
            iou: of every found mask with every annotated one, in place of ``masks`` and ``pred_masks``.

        Raises:
            ValueError: for arguments of wrong shapes, objects or predicates that do not exist, scores that are not
                finite, or a mixture of images with and without classes. The metric stays as it was.
            TypeError: for an argument that is no tensor; likewise.
        """
        try:
            self._update(scores, relations, masks, classes, pred_masks, pred_classes, pred_scores, iou)
        except BaseException:
            # TorchMetrics counts an update before it is made.
            self._update_count -= 1
            raise

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Return the recall of all images counted in so far.

        Raises:
            ValueError: if some processes have counted images with classes in, and others images without.
        """
        images = int(self.images)
        if int(self.class_agnostic) not in (0, images):
            raise ValueError("`classes` must be given for all images or for none, also across processes")
        denominator = _UNITS * max(1, images)
        if self.protocol == "ram":
            values = {
                f"recall@{k}": found / denominator for k, found in zip(self.top_k, self.found.tolist(), strict=True)
            }
        else:
            prefix = "class_agnostic_" if int(self.class_agnostic) else ""
            means = self.by_predicate().nan_to_num(0.0).mean(1).tolist()
            values = {}
            for rank, k in enumerate(self.top_k):
                values[f"{prefix}R@{k}"] = int(self.found[rank]) / denominator
                values[f"{prefix}mR@{k}"] = means[rank]
                values[f"{prefix}pair@{k}"] = int(self.found_pairs[rank]) / denominator
        dtype = torch.float32 if self.device.type == "mps" else self._value_dtype
        return {name: torch.tensor(value, dtype=dtype, device=self.device) for name, value in values.items()}

    def by_predicate(self) -> Float[Tensor, "k p"]:
        """Return, for every K and predicate, the mean over the images in which it is annotated of the share found.

        In a distributed run these are the images of this process alone, unless the metric is synchronised.

        Returns:
            float64 on the CPU, ``[len(top_k), 56]``; NaN for predicates that are not annotated.
        """
        counts = self.images_by_predicate.cpu().double()
        return self.found_by_predicate.cpu().double() / _UNITS / counts

    def plot(self, val: Any = None, ax: Any = None) -> Any:
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

    def set_dtype(self, dst_type: str | torch.dtype) -> RelationRecall:
        """Choose the dtype of computed values. What the metric has counted stays exact."""
        self._dtype = self._value_dtype = torch.zeros(0).type(dst_type).dtype
        self._computed = None
        return self

    def extra_repr(self) -> str:
        """Say what is computed, for ``repr``."""
        return f"protocol={self.protocol!r}, top_k={self.top_k}"

    def _update(
        self,
        scores: Tensor,
        relations: Tensor,
        masks: Tensor | None,
        classes: Tensor | None,
        pred_masks: Tensor | None,
        pred_classes: Tensor | None,
        pred_scores: Tensor | None,
        iou: Tensor | None,
    ) -> None:
        _check_tensors(
            scores=scores,
            relations=relations,
            masks=masks,
            classes=classes,
            pred_masks=pred_masks,
            pred_classes=pred_classes,
            pred_scores=pred_scores,
            iou=iou,
        )
        _check_scores(scores)
        found = scores.shape[1]
        annotated = found
        if self.protocol == "sgdet":
            annotated = _count_annotated(found, masks, pred_masks, iou)
            _check_objects(found, annotated, classes, pred_classes, pred_scores)
        _check_relations(relations, annotated)
        agnostic = self.protocol == "sgdet" and classes is None
        if int(self.images) and agnostic != bool(self.class_agnostic):
            raise ValueError("`classes` must be given for all images or for none")
        if len(relations) == 0:
            return
        # From here on a few hundred numbers are left, which no device is quicker with than numpy.
        top = self._rank(scores, pred_scores).cpu().numpy()
        relations = relations.cpu().unique(dim=0)
        subject, obj, predicate = relations.numpy().T
        if self.protocol == "sgdet":
            candidates = np.zeros((found, annotated), dtype=np.bool_)
            candidates[np.ix_(np.unique(top[:, :2]), np.unique(relations[:, :2]))] = True
            same = _same_objects(candidates, masks, classes, pred_masks, pred_classes, iou)
        else:
            same = np.eye(found, dtype=np.bool_)
        pairs = same[top[:, 0]][:, subject] & same[top[:, 1]][:, obj]
        triplets = pairs & (top[:, 2, None] == predicate)

        ranks = np.array(self.top_k)[:, None]
        hits = _first(triplets) < ranks
        # One annotated pair with several predicates is one pair.
        _, first_of_pair = np.unique(subject * annotated + obj, return_index=True)
        pair_hits = (_first(pairs) < ranks)[:, first_of_pair]
        named = predicate[:, None] == np.arange(len(PREDICATES))
        counts = named.sum(0)

        self.images = self.images + 1
        self.class_agnostic = self.class_agnostic + int(agnostic)
        self.found = self.found + self._units(hits.sum(1), len(subject))
        self.found_pairs = self.found_pairs + self._units(pair_hits.sum(1), len(first_of_pair))
        self.found_by_predicate = self.found_by_predicate + self._units(hits @ named.astype(np.int64), counts)
        self.images_by_predicate = self.images_by_predicate + torch.from_numpy((counts > 0) * 1).to(self.device)

    def _rank(self, scores: Float[Tensor, "p n n"], object_scores: Tensor | None) -> Int64[Tensor, "k 3"]:
        """Return the first triplets (subject, object, predicate), most probable first."""
        n = scores.shape[1]
        itself = torch.eye(n, dtype=torch.bool, device=scores.device)
        pairs = n * (n - 1)
        if self.protocol == "ram":
            ranked = scores.masked_fill(itself, -torch.inf).flatten()
            top = ranked.topk(min(max(self.top_k), pairs * len(scores))).indices
            return torch.stack([top % n**2 // n, top % n, top // n**2], dim=1)
        best = scores.amax(0)
        if self.protocol == "sgdet" and object_scores is not None:
            weights = object_scores.to(best)
            best = best * weights[:, None] * weights
        top = best.masked_fill(itself, -torch.inf).flatten().topk(min(max(self.top_k), pairs)).indices
        return torch.stack([top // n, top % n, scores.flatten(1)[:, top].argmax(0)], dim=1)

    def _units(self, part: Counts, whole: Counts | int) -> Int64[Tensor, "*s"]:
        """Return ``part / whole`` in units, rounded to the nearest, without leaving the integers; 0 of 0 is 0."""
        whole = np.maximum(whole, 1)
        return torch.from_numpy((part * _UNITS + whole // 2) // whole).to(self.device)


def _first(matches: Booleans) -> Counts:
    """Return the first row in which each column is true, or one that no ``top_k`` reaches."""
    if not len(matches):
        return np.full(matches.shape[1], np.iinfo(np.int64).max)
    return np.where(matches.any(0), matches.argmax(0), np.iinfo(np.int64).max)


def _same_objects(
    candidates: Booleans,
    masks: Tensor | None,
    classes: Tensor | None,
    pred_masks: Tensor | None,
    pred_classes: Tensor | None,
    iou: Tensor | None,
) -> Booleans:
    """Tell which candidates, pairs of a found and an annotated object, are one object."""
    if classes is not None and pred_classes is not None:
        candidates = candidates & (pred_classes.cpu()[:, None] == classes.cpu()).numpy()
    if iou is not None:
        overlap: Booleans = (iou.cpu() >= _MATCHING_IOU).numpy()
        return candidates & overlap
    if masks is None or pred_masks is None:
        raise ValueError("`masks` and `pred_masks` are needed by the protocol 'sgdet', or `iou` in their place")
    # Compiles when first called.
    from torchmetrics_sess.relations.overlap import overlapping

    return overlapping(pred_masks, masks, candidates)


def _check_tensors(**arguments: object) -> None:
    for name, value in arguments.items():
        if not (isinstance(value, Tensor) or (value is None and name not in ("scores", "relations"))):
            raise TypeError(f"`{name}` must be a tensor, got {type(value).__name__}")


def _check_scores(scores: Tensor) -> None:
    if scores.ndim != 3 or scores.shape[0] != len(PREDICATES) or scores.shape[1] != scores.shape[2]:
        raise ValueError(f"`scores` must be [{len(PREDICATES)}, n, n], got {list(scores.shape)}")
    if not scores.is_floating_point():
        raise ValueError(f"`scores` must be floating point, got {scores.dtype}")
    # NaN is the extreme of whatever holds one, and infinity too: two numbers tell of all.
    if scores.numel() and not all(math.isfinite(extreme) for extreme in scores.aminmax()):
        raise ValueError("`scores` must be finite, got NaN or infinity")


def _count_annotated(found: int, masks: Tensor | None, pred_masks: Tensor | None, iou: Tensor | None) -> int:
    if iou is not None:
        if iou.ndim != 2 or iou.shape[0] != found:
            raise ValueError(f"`iou` must be [{found}, annotated objects], got {list(iou.shape)}")
        return iou.shape[1]
    for name, value in (("masks", masks), ("pred_masks", pred_masks)):
        if value is None:
            raise ValueError(f"`{name}` is needed by the protocol 'sgdet', or `iou` in its place")
        if value.ndim != 3 or value.dtype != torch.bool:
            raise ValueError(f"`{name}` must be bool [objects, h, w], got {value.dtype} {list(value.shape)}")
    if masks is None or pred_masks is None or pred_masks.shape != (found, *masks.shape[1:]):
        got = None if pred_masks is None else list(pred_masks.shape)
        want = None if masks is None else list(masks.shape[1:])
        raise ValueError(f"`pred_masks` must be {[found, *(want or [])]} as `scores` and `masks` are, got {got}")
    return masks.shape[0]


def _check_objects(
    found: int, annotated: int, classes: Tensor | None, pred_classes: Tensor | None, pred_scores: Tensor | None
) -> None:
    if (classes is None) != (pred_classes is None):
        raise ValueError(
            "`classes` and `pred_classes` go together: pass both, or neither for the class-agnostic number"
        )
    for name, value, count in (
        ("classes", classes, annotated),
        ("pred_classes", pred_classes, found),
        ("pred_scores", pred_scores, found),
    ):
        if value is not None and value.shape != (count,):
            raise ValueError(f"`{name}` must be [{count}], one for every object, got {list(value.shape)}")


def _check_relations(relations: Tensor, annotated: int) -> None:
    if relations.ndim != 2 or relations.shape[1] != 3 or relations.is_floating_point():
        raise ValueError(f"`relations` must be integers [m, 3], got {relations.dtype} {list(relations.shape)}")
    if len(relations) == 0:
        return
    lowest, highest = relations.amin(0).tolist(), relations.amax(0).tolist()
    if min(lowest) < 0 or max(highest[:2]) >= annotated or highest[2] >= len(PREDICATES):
        raise ValueError(
            f"`relations` must be (subject, object, predicate) with objects below {annotated} and predicates below "
            f"{len(PREDICATES)}, got values between {lowest} and {highest}"
        )
