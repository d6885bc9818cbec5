"""How good a relation head is on annotated images, beside what needs no head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.relations.baselines import Baseline
from torchmetrics_sess.relations.ram import RelationHead
from torchmetrics_sess.relations.recall import RelationRecall
from torchmetrics_sess.relations.shards import TokenRecord
from torchmetrics_sess.relations.vocabulary import PREDICATES

_IMAGES_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one scorer of triplets.

    Args:
        recall: by the names of ``RelationRecall``, as shares in [0, 1].
        annotated: how many annotated triplets each predicate has, ``[56]``.
        by_predicate: for every K and predicate, the mean share found, by the protocol ``"predcls"``; NaN where none is
            annotated, ``[k, 56]``.
        confusion: how often the most probable predicate of an annotated pair is the one of the column where the one of
            the row is annotated; where several are annotated, each counts, ``[56, 56]``.
    """

    recall: dict[str, float]
    annotated: Int64[Tensor, " p"]
    by_predicate: Float[Tensor, "k p"]
    confusion: Int64[Tensor, "p p"]

    def confused(self, count: int) -> list[tuple[str, str, int]]:
        """Return the ``count`` most frequent confusions: annotated predicate, most probable one, how often.

        Examples:
            >>> confusion = torch.zeros(56, 56, dtype=torch.int64)
            >>> confusion[3, 0] = 2
            >>> Evaluation({}, confusion[0], torch.zeros(1, 56), confusion).confused(5)
            [('on', 'over', 2)]
        """
        wrong = self.confusion.clone().fill_diagonal_(0)
        order = wrong.flatten().argsort(descending=True, stable=True)[:count].tolist()
        pairs = [(index // len(PREDICATES), index % len(PREDICATES)) for index in order]
        return [
            (PREDICATES[row], PREDICATES[column], int(wrong[row, column]))
            for row, column in pairs
            if wrong[row, column]
        ]


def evaluate_head(
    head: RelationHead,
    records: Sequence[TokenRecord],
    *,
    device: torch.device | str = "cpu",
    top_k: Sequence[int] = (20, 50, 100),
) -> Evaluation:
    """Measure a relation head on given objects and, if the tokens hold any, on objects that a segmenter found.

    Args:
        head: the network; it is moved to ``device``.
        records: the images.
        device: where to compute.
        top_k: see ``RelationRecall``.

    Raises:
        ValueError: if the head reads tokens of another length.
    """
    head = head.to(device).eval()
    with full_precision(torch.device(device)):
        given = [record.tokens for record in records]
        evaluation = _evaluate(records, _probabilities(head, given, device), top_k)
        found = [record for record in records if record.found is not None and len(record.found) > 0]
        if found:
            recall = RelationRecall("sgdet", top_k)
            tokens = [record.found for record in found if record.found is not None]
            for record, scores in zip(found, _probabilities(head, tokens, device), strict=True):
                recall.update(scores, record.relations, iou=record.iou)
            evaluation.recall.update({name: value.item() for name, value in recall.compute().items()})
    return evaluation


def evaluate_baseline(
    baseline: Baseline, records: Sequence[TokenRecord], *, top_k: Sequence[int] = (20, 50, 100)
) -> Evaluation:
    """Measure a baseline on given objects.

    Args:
        baseline: scores the triplets of an image.
        records: the images.
        top_k: see ``RelationRecall``.
    """
    return _evaluate(records, map(baseline, records), top_k)


def _evaluate(
    records: Sequence[TokenRecord], scored: Iterable[Float[Tensor, "p _ _"]], top_k: Sequence[int]
) -> Evaluation:
    ram, predcls = RelationRecall("ram", top_k), RelationRecall("predcls", top_k)
    p = len(PREDICATES)
    confusion = torch.zeros(p * p, dtype=torch.int64)
    for record, scores in zip(records, scored, strict=True):
        for recall in (ram, predcls):
            recall.update(scores, record.relations)
        subject, obj, predicate = record.relations.unbind(1)
        likeliest = scores.argmax(0)[subject, obj]
        confusion += torch.bincount(p * predicate + likeliest, minlength=p * p)
    values: Mapping[str, Tensor] = {**ram.compute(), **predcls.compute()}
    confusion = confusion.view(p, p)
    return Evaluation(
        recall={name: value.item() for name, value in values.items()},
        annotated=confusion.sum(1),
        by_predicate=predcls.by_predicate(),
        confusion=confusion,
    )


def _probabilities(
    head: RelationHead, tokens: Sequence[Float[Tensor, "_ d"]], device: torch.device | str
) -> Iterator[Float[Tensor, "p _ _"]]:
    """Yield the probabilities of all triplets of every image."""
    for start in range(0, len(tokens), _IMAGES_AT_ONCE):
        some = tokens[start : start + _IMAGES_AT_ONCE]
        padded = torch.nn.utils.rnn.pad_sequence(list(some), batch_first=True)
        counts = torch.tensor([len(rows) for rows in some])
        valid = torch.arange(padded.shape[1]) < counts[:, None]
        scores = head(padded.to(device), valid.to(device)).sigmoid().cpu()
        for index, n in enumerate(counts.tolist()):
            yield scores[index, :, :n, :n]
