"""Embeddings that the segmenter's own network already gave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.config import setting
from torchmetrics_sess.stages import Embeddings, Image, Segmentation

Release: TypeAlias = Literal["lite", "lite-0.1"]


class Descriptors(NamedTuple):
    """Constants that turn what a network says of regions and images into embeddings that can be compared.

    Args:
        token_mean: mean of the descriptors of regions, ``[d]``.
        image_mean: mean of the descriptors of whole images, ``[d]``.
        token_map: linear map of centred descriptors of regions, ``[d, e]``; ``None`` leaves them as they are.
    """

    token_mean: Float[Tensor, " d"]
    image_mean: Float[Tensor, " d"]
    token_map: Float[Tensor, "d e"] | None = None


@dataclass(frozen=True)
class DinoEncoderConfig:
    """Settings of ``DinoEncoder``.

    Args:
        descriptors: which of the constants that ship with the package to use: those of ``"lite"``, or those of
            ``"lite-0.1"``, which had no map.

    Raises:
        ValueError: for unknown ones.
    """

    kind: ClassVar[str] = "dino"
    differentiable: ClassVar[bool] = True

    descriptors: Release = setting("lite", short="")

    def __post_init__(self) -> None:
        if self.descriptors not in get_args(Release):
            raise ValueError(f"`descriptors` must be one of {get_args(Release)}, got {self.descriptors!r}")

    def weights(self) -> list[str]:
        """Return nothing: the descriptors ship with the package."""
        return []

    def digests(self) -> list[str]:
        """Return the digest of the descriptors."""
        return [hashlib.sha256(_file(self.descriptors)).hexdigest()[:8]]

    def build(self, device: torch.device) -> DinoEncoder:
        """Load the descriptors on ``device``."""
        constants = load_descriptors(self.descriptors)
        return DinoEncoder(
            token_mean=constants.token_mean.to(device),
            image_mean=constants.image_mean.to(device),
            token_map=None if constants.token_map is None else constants.token_map.to(device),
        )


class DinoEncoder:
    """Takes the descriptors of a segmentation as embeddings, as far as they tell things apart.

    Embeddings of a vision transformer share a large common vector, which makes unrelated objects look alike, and those
    of one thing vary with where it stands. So their mean is removed, and a linear discriminant (Fisher, 1936) keeps the
    directions in which different things differ more than one thing does between pictures. Mean and map are constants
    that ship with the package (``training/descriptors.py`` made them): they must not depend on the images at hand, or
    a score would depend on its batch.

    Args:
        token_mean: mean descriptor of regions.
        image_mean: mean descriptor of whole images.
        token_map: linear map of centred descriptors of regions; ``None`` leaves them as they are.
    """

    differentiable = True

    def __init__(
        self,
        token_mean: Float[Tensor, " d"],
        image_mean: Float[Tensor, " d"],
        token_map: Float[Tensor, "d e"] | None = None,
    ) -> None:
        self.token_mean = token_mean
        self.image_mean = image_mean
        self.token_map = token_map

    def __call__(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        """Return the descriptors of every segmentation as unit-norm embeddings; the images are not looked at."""
        return [self._embed(segmentation) for segmentation in segmentations]

    def _embed(self, segmentation: Segmentation) -> Embeddings:
        if segmentation.tokens is None or segmentation.image_tokens is None:
            raise ValueError("the `dino` encoder needs a segmenter that gives tokens, such as the `dino` segmenter")
        tokens = segmentation.tokens - self.token_mean
        if self.token_map is not None:
            tokens = tokens @ self.token_map
        return Embeddings(
            features=functional.normalize(tokens, dim=-1),
            image_features=functional.normalize(segmentation.image_tokens - self.image_mean, dim=-1),
        )


@cache
def load_descriptors(release: Release) -> Descriptors:
    """Return constants that ship with the package, for descriptors of 384 numbers."""
    from safetensors.torch import load

    return Descriptors(**load(_file(release)))


def _file(release: Release) -> bytes:
    name = f"{release.replace('-', '_').replace('.', '_')}_descriptors.safetensors"
    return resources.files("torchmetrics_sess.encoders").joinpath(name).read_bytes()
