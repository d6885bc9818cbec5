"""What a relation head is trained by: losses of the logits of every triplet against the annotated ones."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def candidate_pairs(valid: Bool[Tensor, "b k"]) -> Bool[Tensor, "b k k"]:
    """Return which ordered pairs (subject, object) can relate: two different objects, both there.

    Examples:
        >>> import torch
        >>> candidate_pairs(torch.tensor([[True, True, False]])).int()
        tensor([[[0, 1, 0],
                 [1, 0, 0],
                 [0, 0, 0]]], dtype=torch.int32)
    """
    others = ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return valid[:, :, None] & valid[:, None, :] & others


def zlpr_loss(
    logits: Float[Tensor, "b p k k"], target: Bool[Tensor, "b p k k"], pairs: Bool[Tensor, "b k k"]
) -> Float[Tensor, "b p"]:
    """Return the ZLPR loss of every image and predicate.

    ``log(1 + sum of exp(x) over the negatives) + log(1 + sum of exp(-x) over the positives)``, over all candidate pairs
    of an image (Su et al., *ZLPR: A Novel Loss for Multi-label Classification*, 2022). Its threshold is a logit of 0.

    Args:
        logits: of every (predicate, subject, object).
        target: which of them are annotated; several predicates of one pair may be.
        pairs: which pairs (subject, object) count. What the others hold changes neither the loss nor its gradient.

    Examples:
        >>> import torch
        >>> logits, target = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool)
        >>> target[0, 0, 0, 1] = True
        >>> pairs = candidate_pairs(torch.ones(1, 2, dtype=torch.bool))
        >>> zlpr_loss(logits, target, pairs)  # 2 log 2
        tensor([[1.3863]])
    """
    counted = pairs[:, None]
    negative = logits.masked_fill(~counted | target, -torch.inf).flatten(2)
    positive = (-logits).masked_fill(~(counted & target), -torch.inf).flatten(2)
    # The 1 is one more exponential, of 0; with it no sum is empty, and no gradient NaN.
    zero = logits.new_zeros(*logits.shape[:2], 1)
    return torch.cat([zero, negative], 2).logsumexp(2) + torch.cat([zero, positive], 2).logsumexp(2)


def bce_loss(
    logits: Float[Tensor, "b p k k"], target: Bool[Tensor, "b p k k"], pairs: Bool[Tensor, "b k k"]
) -> Float[Tensor, "b p"]:
    """Return the binary cross-entropy of every image and predicate, as the mean over its candidate pairs.

    Args:
        logits: as for ``zlpr_loss``, and likewise the rest.
        target: which of them are annotated.
        pairs: which pairs count.

    Examples:
        >>> import torch
        >>> nothing = torch.zeros(1, 1, 2, 2)
        >>> bce_loss(nothing, nothing.bool(), candidate_pairs(torch.ones(1, 2, dtype=torch.bool)))  # log 2
        tensor([[0.6931]])
    """
    losses = binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
    losses = torch.where(pairs[:, None], losses, 0.0)
    return losses.sum((2, 3)) / pairs.sum((1, 2)).clamp(min=1)[:, None]


def hard_predicate_mean(losses: Float[Tensor, "b p"]) -> Float[Tensor, " b"]:
    """Return the loss of every image, in which its hardest predicates count most.

    Each predicate's loss is weighted by itself over the largest one; the mean is over all predicates. Gradients flow
    through the weights too, as in RelateAnything, whose release computes this for one image at a time.

    Args:
        losses: of every image and predicate, not negative.

    Examples:
        >>> import torch
        >>> hard_predicate_mean(torch.tensor([[2.0, 1.0, 0.0, 1.0]]))  # (2 + 1 / 2 + 0 + 1 / 2) / 4
        tensor([0.7500])
    """
    largest = losses.amax(1, keepdim=True).clamp(min=torch.finfo(losses.dtype).tiny)
    return (losses * losses / largest).mean(1)
