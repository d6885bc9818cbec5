"""The stages of ``lite`` around a small random network, and a codec that learns from what they see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchmetrics_sess import SemanticSimilarityLoss
from torchmetrics_sess.encoders.dino import DinoEncoder
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.relations.geometric import GeometricRelationModel
from torchmetrics_sess.segmenters.dino import DinoSegmenter, DinoSegmenterConfig

LITE = load_preset("lite")
KNOWN = minilm_relation_similarity()


def small_extractor(
    seed: int = 0, importance: ImportanceConfig = LITE.importance, dtype: torch.dtype = torch.float32
) -> SceneGraphExtractor:
    """Build the stages of ``lite`` around a random network of 9 patches and 4 regions."""
    torch.manual_seed(seed)
    network = DinoSaliencyNetwork(width=16, depth=2, heads=2, grid=4, tap=1, decoder_channels=(8, 8, 8)).to(dtype)
    config = DinoSegmenterConfig(image_size=42, layer=1, seeds_per_side=2)
    encoder = DinoEncoder(*(torch.randn(shape, dtype=dtype) / 4 for shape in ((16,), (16,), (16, 8))))
    segmenter = DinoSegmenter(network.eval().requires_grad_(False), config)
    return SceneGraphExtractor(segmenter, GeometricRelationModel(), encoder, importance=importance, max_width=None)


def images(count: int, seed: int, size: tuple[int, int] = (20, 30), dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 3, 3, generator=generator, dtype=dtype)
    return 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, size, mode="bilinear")


class Codec(nn.Module):
    """A network that holds its loss."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(3, 3, 3, padding=1).to(dtype)
        self.loss = SemanticSimilarityLoss(
            extractor=small_extractor(dtype=dtype),
            relation_similarity=KNOWN,
            matching=LITE.matching,
            out_of_range="clamp",
        )

    def forward(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.layer(batch).sigmoid(), batch)
        return loss
