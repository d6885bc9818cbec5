"""ViTScore: the patches of two images, matched as BERTScore matches words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


class ViTScore(NamedTuple):
    """How well the tokens of two images match, each in [-1, 1], ``[b]``.

    Args:
        precision: how well the tokens of the prediction are found among those of the target.
        recall: how well the tokens of the target are found among those of the prediction.
        f1: their harmonic mean; 0 where one of them is not positive.
    """

    precision: Float[Tensor, " b"]
    recall: Float[Tensor, " b"]
    f1: Float[Tensor, " b"]


def vit_score(preds: Float[Tensor, "b m d"], target: Float[Tensor, "b n d"]) -> ViTScore:
    """Match the tokens of images as BERTScore matches words: each takes the most similar one of the other image.

    Zhu et al., *How to Evaluate Semantic Communications for Images with ViTScore Metric?* (arXiv 2309.04891).

    Args:
        preds: embedding of every patch of the predictions.
        target: those of the targets; as many images, of any number of patches.

    Examples:
        >>> import torch
        >>> vit_score(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[3.0, 0.0]]]))
        ViTScore(precision=tensor([0.5000]), recall=tensor([1.]), f1=tensor([0.6667]))
    """
    cosine = normalize(preds, dim=-1) @ normalize(target, dim=-1).mT
    precision, recall = cosine.amax(2).mean(1), cosine.amax(1).mean(1)
    low, high = precision.clamp_min(0), recall.clamp_min(0)
    return ViTScore(precision, recall, 2 * low * high / (low + high).clamp_min(torch.finfo(cosine.dtype).tiny))
