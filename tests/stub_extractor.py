"""A quick stand-in for the networks of a preset: four objects per image, the quarters, told apart by their colours."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.stages import Embeddings, Image, Relations, Segmentation

# One entry for every time that networks were built.
BUILT: list[torch.device] = []


class QuarterSegmenter:
    """Cuts every image into its quarters; no network."""

    def __call__(self, images: list[Image]) -> list[Segmentation]:
        return [self._segment(image) for image in images]

    def _segment(self, image: Image) -> Segmentation:
        height, width = image.shape[-2:]
        lower = torch.arange(height, device=image.device)[:, None] >= height // 2
        right = torch.arange(width, device=image.device)[None, :] >= width // 2
        masks = torch.stack([lower == bool(i // 2) for i in range(4)]) & torch.stack(
            [right == bool(i % 2) for i in range(4)]
        )
        valid = torch.ones(1, 4, dtype=torch.bool, device=image.device)
        return Segmentation(masks=masks[None], valid=valid, saliency=image.mean(0)[None])


class AboveRelations:
    """Puts the upper quarters over the lower ones; no network."""

    def __call__(self, segmentations: list[Segmentation]) -> list[Relations]:
        relation = torch.full((1, 4, 4), -1)
        relation[0, 0, 2] = relation[0, 1, 3] = 0
        confidence = torch.where(relation >= 0, 0.75, -1.0)
        return [Relations(relation.to(s.valid.device), confidence.to(s.valid.device), s.valid) for s in segmentations]


class ColourEncoder(nn.Module):
    """Embeds mean colours by a small network of fixed weights."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Linear(3, 64)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(64, 3, generator=generator))
            self.layer.bias.copy_(torch.randn(64, generator=generator))

    def forward(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        return [self._embed(image, s.masks[0].float()) for image, s in zip(images, segmentations, strict=True)]

    def _embed(self, image: Image, masks: Tensor) -> Embeddings:
        quarters = torch.einsum("chw,khw->kc", image, masks) / masks.sum((1, 2))[:, None]
        colours = torch.cat([quarters, image.mean((1, 2))[None]])
        features = nn.functional.normalize(self.dropout(torch.sin(8 * self.layer(colours))))
        return Embeddings(features[None, :4], features[4:])


def stub_extractor() -> SceneGraphExtractor:
    """Build the extractor."""
    return SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), ColourEncoder(), max_width=None)


class SmallMemory(SceneGraphExtractor):
    """Extracts little at a time, and remembers how much, and what did not fit."""

    def __init__(self, pixels: int) -> None:
        super().__init__(QuarterSegmenter(), AboveRelations(), ColourEncoder(), max_width=None)
        self.pixels = pixels
        self.sizes: list[int] = []
        self.refused: list[weakref.ref[Tensor]] = []

    def extract(self, images: list[Tensor], *, masks: bool = False, gradient: bool = False) -> list[SceneGraph]:
        assert not any(image() is not None for image in self.refused), "what did not fit is still there"
        if sum(image[0].numel() for image in images) > self.pixels:
            self.refused = [weakref.ref(image) for image in images]
            raise torch.OutOfMemoryError
        self.sizes.append(len(images))
        return super().extract(images, masks=masks, gradient=gradient)


class NoWeights:
    """Settings of a stage that reads no file."""

    def weights(self) -> list[str]:
        return []

    def digests(self) -> list[str]:
        return []


@dataclass(frozen=True)
class SegmenterSettings(NoWeights):
    """Settings of :class:`QuarterSegmenter`; the name only serves to have different ones."""

    kind: ClassVar[str] = "quarters"
    label: str = "first"

    def build(self, device: torch.device) -> QuarterSegmenter:
        BUILT.append(device)
        return QuarterSegmenter()


@dataclass(frozen=True)
class RelationSettings(NoWeights):
    """Settings of :class:`AboveRelations`."""

    kind: ClassVar[str] = "above"

    def build(self, device: torch.device) -> AboveRelations:
        return AboveRelations()


@dataclass(frozen=True)
class EncoderSettings(NoWeights):
    """Settings of :class:`ColourEncoder`."""

    kind: ClassVar[str] = "colour"

    def build(self, device: torch.device) -> ColourEncoder:
        return ColourEncoder().to(device)


def stub_preset(label: str = "first", matching: MatchingConfig | None = None) -> Preset:
    """Return a preset with the stub's stages; another label makes other networks."""
    return Preset(
        name="stub",
        segmenter=SegmenterSettings(label),
        relations=RelationSettings(),
        encoder=EncoderSettings(),
        importance=ImportanceConfig(saliency="segmenter"),
        matching=matching or MatchingConfig(),
        max_width=None,
    )


def stub_images(count: int, seed: int = 0, size: tuple[int, int] = (8, 12)) -> Tensor:
    """Return random images of random tint, so that they differ in mean colour too."""
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand(count, 3, 2, 2, generator=generator)
    tint = tint.repeat_interleave(size[0] // 2, 2).repeat_interleave(size[1] // 2, 3)
    return 0.8 * tint + 0.2 * torch.rand(count, 3, *size, generator=generator)
