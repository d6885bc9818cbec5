"""Embeddings that the segmenter's own network already gave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.stages import Embeddings, Image, Segmentation


@dataclass(frozen=True)
class DinoEncoderConfig:
    """Settings of ``DinoEncoder``: there are none."""

    kind: ClassVar[str] = "dino"

    def weights(self) -> list[str]:
        """Return nothing: the mean descriptors ship with the package."""
        return []

    def digests(self) -> list[str]:
        """Return the digest of the mean descriptors."""
        return [hashlib.sha256(_means_file()).hexdigest()[:8]]

    def build(self, device: torch.device) -> DinoEncoder:
        """Load the mean descriptors on ``device``."""
        means = lite_means()
        return DinoEncoder(token_mean=means["token"].to(device), image_mean=means["image"].to(device))


class DinoEncoder:
    """Takes the descriptors of a segmentation as embeddings, their common part removed.

    Embeddings of a vision transformer share a large common vector, which makes unrelated objects look alike. The mean
    over many photographs is a constant that ships with the package (``benchmarks/calibration/lite_means.py`` made it):
    it must not depend on the images at hand, or a score would depend on its batch.

    Args:
        token_mean: mean descriptor of regions.
        image_mean: mean descriptor of whole images.
    """

    def __init__(self, token_mean: Float[Tensor, " d"], image_mean: Float[Tensor, " d"]) -> None:
        self.token_mean = token_mean
        self.image_mean = image_mean

    def __call__(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        """Return the descriptors of every segmentation, centred and unit-norm; the images are not looked at."""
        return [self._embed(segmentation) for segmentation in segmentations]

    def _embed(self, segmentation: Segmentation) -> Embeddings:
        if segmentation.tokens is None or segmentation.image_tokens is None:
            raise ValueError("the `dino` encoder needs a segmenter that gives tokens, such as the `dino` segmenter")
        return Embeddings(
            features=functional.normalize(segmentation.tokens - self.token_mean, dim=-1),
            image_features=functional.normalize(segmentation.image_tokens - self.image_mean, dim=-1),
        )


@cache
def lite_means() -> dict[str, Tensor]:
    """Return the mean descriptors that ship with the package: ``token`` and ``image``, ``[384]`` each."""
    from safetensors.torch import load

    return load(_means_file())


def _means_file() -> bytes:
    return resources.files("torchmetrics_sess.encoders").joinpath("lite_means.safetensors").read_bytes()
