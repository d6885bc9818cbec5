"""Scene graphs of images, extracted once for all metrics that look at the same ones."""

from __future__ import annotations

import hashlib

import torch

from torchmetrics_sess.extractor import to_cpu
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.presets.pool import Networks, pooled_networks
from torchmetrics_sess.stages import Image

# Of the small ones of `lite`, these take some 10 MB.
_GRAPHS_KEPT = 256


class SceneGraphs:
    """Images to scene graphs; those met last are remembered, as several metrics ask for the same."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._known: dict[bytes, SceneGraph] = {}

    def __call__(self, images: list[Image]) -> list[SceneGraph]:
        """Return the scene graph of every image, in order."""
        # By content: an image may be written to between two calls, and a target is often met more than once.
        keys = [_digest(image) for image in to_cpu(images)]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._known}
        extracted = self.networks.extractor.extract(list(new.values())) if new else []
        asked = {key: self._known[key] for key in keys if key in self._known}
        asked |= dict(zip(new, extracted, strict=True))
        before = {key: graph for key, graph in self._known.items() if key not in asked}
        self._known = dict([*before.items(), *asked.items()][-max(_GRAPHS_KEPT, len(asked)) :])
        return [asked[key] for key in keys]

    def pairs(self, preds: list[Image], target: list[Image]) -> tuple[list[SceneGraph], list[SceneGraph]]:
        """Return the scene graphs of both images of every pair."""
        graphs = self(preds + target)
        return graphs[: len(preds)], graphs[len(preds) :]


def _digest(image: Image) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + image.numpy().tobytes()).digest()


class Stores:
    """One ``SceneGraphs`` for all metrics whose presets have the same networks."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stores: dict[Preset, SceneGraphs] = {}

    def of(self, preset: Preset) -> SceneGraphs:
        """Return the one that the networks of ``preset`` belong to."""
        key = preset.networks_alone()
        if key not in self._stores:
            self._stores[key] = SceneGraphs(pooled_networks(preset, self._device))
        return self._stores[key]
