"""What is compared: the score, the plain embedding of the same network, and measures that know pixels only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from torchmetrics_sess.comparison import image_metrics
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.presets.pool import pooled_networks

SESS, EMBEDDING = "SeSS", "embedding"
PIXEL_METRICS = {"ms_ssim": "MS-SSIM", "psnr": "PSNR"}
MEASURES = (SESS, EMBEDDING, *PIXEL_METRICS.values())
# Infinite for images that are equal, and then no mean could be taken.
HIGHEST_PSNR = 100.0
# All images at once would fill a machine.
_CHUNK = 16


class Measures:
    """Every measure, at one extraction an image.

    Args:
        preset: of the score.
        device: where its networks work.
        pixel_metrics: measures of ``torchmetrics_sess.comparison``, with what to call them.
    """

    def __init__(self, preset: Preset, device: torch.device, pixel_metrics: Mapping[str, str] = PIXEL_METRICS) -> None:
        self.preset = preset
        self.networks = pooled_networks(preset, device)
        self.titles = pixel_metrics
        self.pixel_metrics = image_metrics(pixel_metrics, device)

    def against(self, original: Image.Image, changed: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Return what every measure says of changed copies of one image."""
        first, *graphs = self.graphs([original, *changed])
        return self._compare(graphs, [first] * len(changed), changed, [original] * len(changed))

    def between(self, images: Sequence[Image.Image], pairs: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
        """Return what every measure says of pairs of different images."""
        graphs = self.graphs(images)
        first, second = ([graphs[pair[side]] for pair in pairs] for side in (0, 1))
        return self._compare(first, second, [images[i] for i, _ in pairs], [images[j] for _, j in pairs])

    def graphs(self, images: Sequence[Image.Image]) -> list[SceneGraph]:
        """Return the scene graphs of images."""
        chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
        return [
            graph
            for chunk in chunks
            for graph in self.networks.extractor([image_tensor(image) for image in chunk], masks=False)
        ]

    def _compare(
        self,
        graphs: Sequence[SceneGraph],
        references: Sequence[SceneGraph],
        images: Sequence[Image.Image],
        originals: Sequence[Image.Image],
    ) -> list[dict[str, float]]:
        results = match_graph_pairs(graphs, references, self.networks.relation_similarity, self.preset.matching)
        columns = {SESS: [result.score for result in results]}
        pairs = zip(graphs, references, strict=True)
        columns[EMBEDDING] = [float(graph.image_feature @ other.image_feature) for graph, other in pairs]
        # Pixels can only be compared at one size.
        sized = [
            image if image.size == original.size else image.resize(original.size, Image.Resampling.BICUBIC)
            for image, original in zip(images, originals, strict=True)
        ]
        tensors = [[image_tensor(image) for image in side] for side in (sized, originals)]
        for name, title in self.titles.items():
            columns[title] = [min(value, HIGHEST_PSNR) for value in self.pixel_metrics[name](*tensors)]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
