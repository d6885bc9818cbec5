"""What a relation head has to be better than: scores of triplets that need no training, or next to none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.relations.geometric import geometric_probabilities
from torchmetrics_sess.relations.shards import TokenRecord
from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES, PREDICATES
from torchmetrics_sess.stages import Segmentation

Baseline: TypeAlias = Callable[[TokenRecord], Float[Tensor, "p n n"]]
"""Scores every (predicate, subject, object) of an image."""

# Less than any two scores that mean something differ by: it decides among equal ones alone.
_TIE = 1e-6


def random_scores(record: TokenRecord, seed: int = 0) -> Float[Tensor, "p n n"]:
    """Return random scores, the same ones for an image whenever it is asked for.

    Args:
        record: the image.
        seed: of the random numbers.
    """
    # The sum of bytes is enough to tell images apart, and the same in every process.
    generator = torch.Generator().manual_seed(
        seed + sum(index * byte for index, byte in enumerate(record.name.encode()))
    )
    n = len(record.classes)
    return torch.rand(len(PREDICATES), n, n, generator=generator)


def geometric_scores(record: TokenRecord) -> Float[Tensor, "p n n"]:
    """Return what the geometric predicates of ``lite`` say about the shapes of the annotated objects.

    They score seven of the 56 predicates, of which *in front of* needs a saliency map and is never found here. Equal
    scores, as those of all others are, rank at random.
    """
    shapes = record.shapes[None].float() / 255
    segmentation = Segmentation(shapes, torch.ones(shapes.shape[:2], dtype=torch.bool))
    return geometric_probabilities(segmentation)[0] + _TIE * random_scores(record)


class FrequencyPrior:
    """How often each predicate is annotated between objects of two classes, in the images that it was made from.

    A triplet's score is the share of the ordered pairs of its two classes that are annotated with its predicate. It
    needs the classes of objects, which a relation head does not. Equal scores rank at random.

    Args:
        records: the images to count in: those of the training split.

    Examples:
        >>> import torch
        >>> cells = torch.zeros(2, 1, 1, dtype=torch.uint8)
        >>> record = TokenRecord(
        ...     "a", torch.zeros(2, 4), cells[:, 0, 0], torch.tensor([0, 1]), cells, torch.tensor([[0, 1, 5]])
        ... )
        >>> FrequencyPrior([record])(record)[5].round(decimals=3)
        tensor([[0., 1.],
                [0., 0.]])
    """

    def __init__(self, records: Iterable[TokenRecord]) -> None:
        c = len(OBJECT_CLASSES)
        related = torch.zeros(len(PREDICATES), c, c)
        together = torch.zeros(c, c)
        for record in records:
            there = torch.bincount(record.classes, minlength=c).float()
            together += torch.outer(there, there) - torch.diag(there)
            subject, obj, predicate = record.relations.unbind(1)
            place = predicate, record.classes[subject], record.classes[obj]
            related.index_put_(place, torch.ones(len(record.relations)), accumulate=True)
        self._shares = related / together.clamp(min=1)

    def __call__(self, record: TokenRecord) -> Float[Tensor, "p n n"]:
        """Score the triplets of an image."""
        classes = record.classes
        return self._shares[:, classes[:, None], classes] + _TIE * random_scores(record)
